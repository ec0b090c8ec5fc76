"""The Content-Security-Policy of every answer, and whether it may be stored."""

from collections.abc import Callable, Iterable

from django.http import HttpRequest, HttpResponseBase

# Nothing is loaded from or sent to other hosts, and no page may be framed. No page has an inline
# script, and none evaluates text: static/oroboros/alpine-setup.js. unfold's templates have styles
# in attributes.
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
# No page uses any of these, and neither may a script that gets into one.
PERMISSIONS = (
    "camera=(), microphone=(), geolocation=(), payment=(), usb=(), serial=(), bluetooth=(), "
    "midi=(), display-capture=()"
)
# Swagger UI's scripts come from our own files only. It sets styles inline, and has its icons in
# data: addresses.
API_DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def allow_connections(response: HttpResponseBase, sources: Iterable[str]) -> None:
    """Let the scripts of this page also send requests to the sources."""
    response.headers["Content-Security-Policy"] = (
        f"{POLICY}; connect-src 'self' {' '.join(sources)}"
    )


def add_security_headers(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: add POLICY and PERMISSIONS, forbid to store; unless the view has set its own.

    Static files have a Cache-Control. Every other answer depends on who sends the request: a
    browser must not show it after the log-out, nor a proxy to another person.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Permissions-Policy", PERMISSIONS)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return middleware
