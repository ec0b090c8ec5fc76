"""What every answer tells browsers not to do."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

# unfold's templates have scripts within them and Alpine evaluates attributes, so that scripts
# cannot be narrowed further; but nothing is loaded from, sent to or framed by anybody else.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval'; img-src 'self' data:; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def content_security(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Add the policy to every answer that has not a stricter one of its own."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        answer = get_response(request)
        answer.headers.setdefault("Content-Security-Policy", POLICY)
        return answer

    return middleware
