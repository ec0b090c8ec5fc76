"""The addresses of the control plane. Only the health checks need no authentication."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from forges.hooks import receive_hook
from forges.pull_requests import find_named
from oroboros import health
from oroboros.operator_settings import pages, variable_pages
from runs.addresses.views import check_certificate, show_preview_name
from runs.api.metrics import MetricsView
from runs.comparison import release_page
from runs.protection.entry import enter_preview
from web.api_docs import ApiDocsView

urlpatterns = [
    *(path(name, health.check_health) for name in ("health", "healthz", "readyz")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("metrics", MetricsView.as_view(), name="metrics"),
    path("api/docs/", ApiDocsView.as_view(), name="api-docs"),
    path("api/schema/", SpectacularAPIView.as_view(), name="api-schema"),
    path("api/", include("runs.api.urls")),
    path("api/", include("slots.api")),
    path("api/", include("releases.api")),
    path("api/", include("releases.log_api")),
    path("api/", include("forges.api")),
    path("api/", include("notifications.api")),
    path("hooks/<str:forge>", receive_hook, name="hook"),
    path("api/", include("accounts.api")),
    path("api/", include("oroboros.operator_settings.api")),
    path("previews/enter", enter_preview, name="preview-entry"),
    path("internal/certificate", check_certificate, {"find_pull_request": find_named}),
    path("internal/preview", show_preview_name, {"find_pull_request": find_named}),
    *pages.urlpatterns,
    *variable_pages.urlpatterns,
    *release_page.urlpatterns,
    # Before the admin's own log-in, which asks for a password only.
    path("admin/", include("accounts.sign_in.urls")),
    path("admin/", admin.site.urls),
]

# Errors outside of the API's views have the same JSON body as those inside.
handler400 = "web.errors.bad_request"
handler403 = "web.errors.forbidden"
handler404 = "web.errors.not_found"
handler500 = "web.errors.server_error"
