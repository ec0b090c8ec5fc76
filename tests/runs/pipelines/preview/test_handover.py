"""A slot is handed from a reaped run to the next one while browsers send requests."""

import http.client
import threading
import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from host.process.process_id import ProcessId
from runs.leasing import reaper
from runs.lifecycle import execution
from runs.models import Run
from slots.models import Lease, Slot
from slots.runtime import backend
from tests.runs.pipelines.shipping.world import GUESTBOOK

OLD, NEW = "the-old-runs-app", "the-new-runs-app"


class Browser(threading.Thread):
    """Asks for one address as fast as it can, with its cache; notes whose app each answer shows."""

    def __init__(self, port, path):
        super().__init__(daemon=True)
        self.port, self.path = port, path
        self.closed = threading.Event()
        self.etag, self.kept = "", b""
        # When each request began, in monotonic seconds, and which of the two apps it showed.
        self.seen = []

    def run(self):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        while not self.closed.is_set():
            began = time.monotonic()
            try:
                body = self.ask(link)
            except (OSError, http.client.HTTPException):
                link.close()
                body = b""
            self.seen.append((began, [app for app in (OLD, NEW) if app.encode() in body]))

    def ask(self, link):
        headers = {"Host": f"preview1.localhost:{self.port}"}
        if self.etag:
            headers["If-None-Match"] = self.etag
        link.request("GET", self.path, headers=headers)
        answer = link.getresponse()
        body = answer.read()
        if answer.status == http.client.NOT_MODIFIED:
            return self.kept
        if answer.headers["ETag"]:
            self.etag, self.kept = answer.headers["ETag"], body
        return body

    def shown(self, since=0.0):
        """Return the apps that the answers show, in order, each change once."""
        apps = [apps for began, apps in self.seen if began > since]
        return [app for app, before in zip(apps, [None, *apps], strict=False) if app != before]


@pytest.fixture
def browse():
    """Open browsers; they are closed at the end."""
    opened = []

    def open_at(*addresses):
        opened.extend(Browser(*address) for address in addresses)
        for browser in opened:
            browser.start()
        return opened

    yield open_at
    for browser in opened:
        browser.closed.set()
    for browser in opened:
        browser.join(180)


def until_all(browsers, app, since=0.0):
    """Wait until each browser's last answer, to a request begun after `since`, shows the app."""
    deadline = time.monotonic() + 180
    while not all(browser.shown(since)[-1:] == [[app]] for browser in browsers):
        assert time.monotonic() < deadline, [browser.shown() for browser in browsers]
        time.sleep(0.01)


def branded(app):
    """Return files of the guestbook whose page and whose backend say whose they are."""
    page = (GUESTBOOK / "frontend/src/index.html").read_text()
    backend = (GUESTBOOK / "backend/guestbook/app.py").read_text()
    return {
        "frontend/src/index.html": page.replace("<title>Guestbook", f"<title>{app}"),
        "backend/guestbook/app.py": backend.replace('"ok"', f'"ok", "app": "{app}"'),
    }


def sessions(slot):
    with connection.cursor() as cursor:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s OR usename = %s"
        cursor.execute(query, [slot.database, slot.database])
        return cursor.fetchone()[0]


def test_no_request_sees_a_reaped_run_after_its_end_or_in_the_next_preview(host, browse):
    place = host(GUESTBOOK)
    slot = place.slot
    Slot.objects.exclude(slot_id=slot.slot_id).update(drained_at=timezone.now())
    old = place.preview("feature/old", branded(OLD))
    new = place.carry("feature/new", branded(NEW))
    assert (new.status, sessions(slot) > 0) == ("queued", True)
    served = backend.status(place.config, slot).unit_status
    web, port = slot.web_port, slot.backend_port
    browsers = browse((web, "/"), (web, "/api/health"), (port, "/api/health"))
    until_all(browsers, OLD)

    Lease.objects.filter(run=old).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert reaper.reap_expired().slot_ids == [slot.slot_id]
    reaped = time.monotonic()
    assert Run.objects.get(pk=old.pk).status == "expired"
    assert Run.objects.get(pk=new.pk).status == "preparing"
    assert not ProcessId(served.pid, served.start_time).is_alive()
    assert (sessions(slot), (slot.folder / "worktree").exists()) == (0, False)
    assert place.get(port, "/health").json() == {"status": "idle", "slot_id": slot.slot_id}

    execution.execute_run(new.pk)
    ready = time.monotonic()
    assert Run.objects.get(pk=new.pk).status == "preview_ready"
    until_all(browsers, NEW, since=ready)
    for browser in browsers:
        assert browser.shown(since=reaped) == [[], [NEW]], browser.path
        assert browser.shown(since=ready) == [[NEW]], browser.path
        # In between nothing, and never the old one again.
        assert browser.shown() == [[OLD], [], [NEW]], browser.path
