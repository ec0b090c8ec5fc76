"""Where each address goes. Only the health addresses ask nobody who they are."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from oroboros import health
from oroboros.docs import Docs
from runs.api.metrics import Metrics

urlpatterns = [
    *(path(name, health.health) for name in ("health", "healthz", "readyz")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("metrics", Metrics.as_view(), name="metrics"),
    path("api/docs/", Docs.as_view(), name="api-docs"),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/", include("runs.api.urls")),
    path("api/", include("releases.api")),
    path("admin/", admin.site.urls),
]

handler400 = "oroboros.api.bad_request"
handler403 = "oroboros.api.forbidden"
handler404 = "oroboros.api.not_found"
handler500 = "oroboros.api.server_error"
