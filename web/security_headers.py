"""The Content-Security-Policy of every answer."""

from collections.abc import Callable, Iterable

from django.http import HttpRequest, HttpResponseBase

# Nothing is loaded from or sent to other hosts, and no page may be framed. unfold's templates
# contain inline scripts, and its Alpine.js evaluates expressions in attributes: scripts therefore
# need 'unsafe-inline' and 'unsafe-eval' on the admin's pages.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
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


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: add POLICY to every answer whose view has not set a policy of its own."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware
