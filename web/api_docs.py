"""The API's documentation: Swagger UI, served from our own static files."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.request import Request
from rest_framework.response import Response

from web.permissions import VIEW
from web.security_headers import API_DOCS_POLICY


class ApiDocsView(SpectacularSwaggerSplitView):
    """Swagger UI. The split view loads its start script from a file, so none is inline."""

    abilities = {"GET": VIEW}
    url_name = "api-schema"

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().get(request, *args, **kwargs)
        response["Content-Security-Policy"] = API_DOCS_POLICY
        return response
