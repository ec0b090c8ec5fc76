"""What a visitor without access reads: a page for browsers, a text for programs."""

from django.conf import settings
from django.http import HttpResponse
from django.template.loader import render_to_string

from runs.protection.rules import PreviewRequest

POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'"
NO_ACCESS = (
    "This preview is shown only to people who may look. Log in by opening a page of it in a "
    "browser, or send a token with the ability preview in the header X-Oroboros-Bypass."
)


def refuse(request: PreviewRequest, status: int, detail: str = NO_ACCESS) -> HttpResponse:
    """Return the answer, without anything of the preview."""
    if "text/html" in request.accept:
        control_plane = settings.OROBOROS.admin_url
        context = {"detail": detail, "status": status, "admin_url": control_plane}
        page = render_to_string("oroboros/preview_refusal.html", context)
        response = HttpResponse(page, status=status)
        response.headers["Content-Security-Policy"] = POLICY
    else:
        response = HttpResponse(f"{detail}\n", status=status, content_type="text/plain")
    response.headers["X-Robots-Tag"] = "noindex"
    if status == 401:
        # RFC 9110, 15.5.2: a 401 names a scheme.
        response.headers["WWW-Authenticate"] = 'Bearer realm="oroboros preview"'
    return response
