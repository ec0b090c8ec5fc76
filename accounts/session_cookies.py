"""The control plane's own cookies in a request: only those that no preview can have set.

Two parsers may disagree on a name. A browser sends `\\xa0oroboros_session` as another cookie than
ours, and Python strips the no-break space. What counts here is the name as it was sent.
"""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase


def keep_own_cookies(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: remove our cookies from a request, unless a name occurs once and exactly."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        header = request.META.get("HTTP_COOKIE", "")
        for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
            value = find_cookie(header, name)
            if value is None:
                request.COOKIES.pop(name, None)
            else:
                request.COOKIES[name] = value
        return get_response(request)

    return middleware


def find_cookie(header: str, name: str) -> str | None:
    """Return the value of the cookie with exactly that name; None unless it occurs once.

    Which of two is ours nothing tells, so neither counts.
    """
    pairs = (part.strip(" ").partition("=") for part in header.split(";"))
    values = [value for own, equals, value in pairs if equals and own == name]
    return values[0] if len(values) == 1 else None
