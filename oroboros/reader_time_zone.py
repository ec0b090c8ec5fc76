"""Shows the times on the admin's pages in the reader's time zone.

No request says where its reader is, so a script of the page writes the browser's zone into a cookie
(`static/oroboros/time-zone.js`). Until then, and for a name that is not known here, it is the
server's (TIME_ZONE). The API keeps the server's: what reads it expects one zone.
"""

from collections.abc import Callable
from functools import cache
from zoneinfo import available_timezones

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

COOKIE = "oroboros_time_zone"
PAGES = "/admin/"


def use_reader_time_zone(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: make the zone of the cookie the current one while a page of the admin is made."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        name = request.COOKIES.get(COOKIE, "")
        if not request.path_info.startswith(PAGES) or name not in _list_zones():
            return get_response(request)
        # An answer that is streamed is made later, and has no times for people.
        with timezone.override(name):
            return get_response(request)

    return middleware


@cache
def _list_zones() -> frozenset[str]:
    """Return the names that are known here. Any other one is a path that zoneinfo would open."""
    return frozenset(available_timezones())
