"""Where each address goes. Only the health addresses ask nobody who they are."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from oroboros import health
from runs.api.metrics import Metrics
from web.api_docs import Docs

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

handler400 = "web.api.bad_request"
handler403 = "web.api.forbidden"
handler404 = "web.api.not_found"
handler500 = "web.api.server_error"
