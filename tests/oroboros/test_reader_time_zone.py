"""The admin's pages show times in the zone that the reader's browser names."""

from datetime import UTC, datetime

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.utils import timezone

from core.clock import format_minute
from oroboros.reader_time_zone import COOKIE, use_reader_time_zone

AT = datetime(2026, 1, 10, 23, 30, tzinfo=UTC)
SERVER = "2026-01-10 23:30 UTC"


def show_time(path, zone):
    """Return the text of AT on a page for a browser with that cookie."""
    request = RequestFactory().get(path)
    request.COOKIES[COOKIE] = zone
    show = use_reader_time_zone(lambda request: HttpResponse(format_minute(AT)))
    return show(request).content.decode()


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        ("Europe/Berlin", "2026-01-11 00:30 CET"),
        ("America/New_York", "2026-01-10 18:30 EST"),
        # The name that browsers still use, which some systems have in a package of its own.
        ("Asia/Calcutta", "2026-01-11 05:00 IST"),
    ],
)
def test_a_page_has_its_times_in_the_readers_zone(zone, text):
    assert show_time("/admin/runs/run/", zone) == text
    # Threads serve many requests: the zone ends with its own.
    assert timezone.get_current_timezone_name() == "UTC"


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "europe/berlin", "UTC\r\n"]
)
def test_a_name_that_is_not_known_leaves_the_servers_zone(zone):
    assert show_time("/admin/", zone) == SERVER


def test_the_api_has_the_servers_zone():
    assert show_time("/api/runs", "Europe/Berlin") == SERVER


def test_the_zone_ends_with_a_request_that_fails():
    def fail(request):
        raise ValueError

    request = RequestFactory().get("/admin/")
    request.COOKIES[COOKIE] = "Europe/Berlin"
    with pytest.raises(ValueError):
        use_reader_time_zone(fail)(request)
    assert timezone.get_current_timezone_name() == "UTC"
