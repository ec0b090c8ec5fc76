"""A ready run and production are photographed by a real Chromium, beside the pipeline."""

import io
import os
import signal

import pytest
from django.conf import settings
from django.test import Client
from PIL import Image

from core.claims import MAX_ATTEMPTS
from runs.lifecycle import execution, operations
from runs.models import Run, ScreenshotSet
from runs.screenshots import camera
from runs.screenshots import execution as screenshots
from runs.screenshots.facts import read_screenshots
from tests.factories import UserFactory
from tests.runs.pipelines.shipping.harness import wait_for
from tests.runs.pipelines.shipping.processes import forked, wait_until

PAGE = """\
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGES = {
    "/": b"<body style='margin:0;background:COLOUR'>",
    "/hangs": b"<img src=/never>",
    "/loops": b"<script>for (;;);</script>",
    "/huge": b"<body style='height:99999999px'>" + b"<p>text" * 100_000,
    "/memory": b"<script>for (const all = [];;) all.push(new Uint8Array(1e8).fill(1))</script>",
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/never":
            self.server.stop.wait()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGES.get(self.path, b"none"))


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.stop = threading.Event()
server.serve_forever()
"""
SIDES = ("preview", "production")
PROCFILE = "web: python server.py\n"


def files(colour, toml=""):
    return {
        "server.py": PAGE.replace("COLOUR", colour),
        "Procfile": PROCFILE,
        "oroboros.toml": '[checks]\nquick = "true"\n' + toml,
    }


def take(run):
    """Do what the supervisor and a queue worker do, and return the row of the run."""
    screenshots.sweep(settings.OROBOROS)
    screenshots.execute_next()
    return ScreenshotSet.objects.get(run=run)


def colour(content):
    """Return the size of the picture and the colour of a pixel."""
    image = Image.open(io.BytesIO(content))
    return image.size, image.getpixel((20, 20))


@pytest.mark.root
@pytest.mark.browser
@pytest.mark.full
def test_preview_and_production_have_pictures_on_both_devices(small, ready_small, ships):
    assert ships("shots/live", files("rgb(0,128,0)")).status == "merged"
    # The live release names no pages, so production has a picture of / alone.
    toml = '[screenshots]\npaths = ["/", "/new"]\n'
    run = ready_small("shots/red", files("rgb(255,0,0)", toml))
    row = take(run)
    assert (row.status, row.detail) == ("taken", "")
    assert (row.commit_sha, row.generation) == (run.commit_sha, run.generation)
    run.refresh_from_db()
    assert run.status == "preview_ready"
    assert row.release.commit_sha == small.remote_main()
    viewer = Client()
    viewer.force_login(UserFactory(groups=["viewer"]))
    listed = viewer.get(f"/api/runs/{run.pk}/screenshots").json()
    pages, new = listed["pages"][:2], listed["pages"][2:]
    assert [page[side]["error"] for page in pages for side in SIDES] == [""] * 4
    assert [(one["path"], one["production"]) for one in new] == [("/new", None)] * 2
    assert [one["device"] for one in pages] == ["desktop", "phone"]
    seen = {}
    for page in pages:
        assert (page["path"], page["changed"]) == ("/", 1.0)
        for side in SIDES:
            answer = viewer.get(page[side]["url"])
            assert answer["Content-Type"] == "image/png"
            assert answer["X-Content-Type-Options"] == "nosniff"
            seen[page["device"], side] = colour(answer.content)
    assert seen == {
        ("desktop", "preview"): ((1440, 900), (255, 0, 0)),
        ("desktop", "production"): ((1440, 900), (0, 128, 0)),
        ("phone", "preview"): ((390, 844), (255, 0, 0)),
        ("phone", "production"): ((390, 844), (0, 128, 0)),
    }
    assert Client().get(page["preview"]["url"]).status_code in (401, 403)
    assert not settings.OROBOROS.screenshot_user.pids()
    assert not [*(settings.OROBOROS.var / "tmp").glob("home-*")]


@pytest.mark.root
@pytest.mark.browser
@pytest.mark.full
def test_a_page_that_hangs_or_is_huge_is_said_and_the_others_have_pictures(ready_small):
    paths = ["/memory", "/", "/huge", "/hangs", "/loops"]
    run = ready_small("shots/bad", files("rgb(255,0,0)", f"[screenshots]\npaths = {paths}\n"))
    row = take(run)
    assert row.status == "taken"
    pairs = {(one["path"], one["device"]): one["preview"] for one in row.pictures}
    assert len(pairs) == 10
    for device in ("desktop", "phone"):
        assert pairs["/", device] == {"status": 200, "error": ""}
        assert "did not finish loading within" in pairs["/hangs", device]["error"]
        assert pairs["/loops", device]["error"]
        assert pairs["/huge", device] == {"status": 200, "error": ""}
        # At its limit of memory the script fails, or the page crashes: the next pages are shown.
        assert pairs["/memory", device]["error"] or pairs["/memory", device]["status"] == 200
    facts = read_screenshots(run)
    sizes = {pair.shot.device: pair.shot.size for pair in facts.pairs if pair.preview.url}
    assert sizes == {"desktop": (1440, 900), "phone": (390, 844)}
    assert not settings.OROBOROS.screenshot_user.pids()


@pytest.mark.root
@pytest.mark.browser
@pytest.mark.full
def test_pictures_of_a_run_that_moved_on_are_discarded(small, ready_small, monkeypatch):
    run = ready_small("shots/moves", files("rgb(255,0,0)"))
    photograph = camera.take_pictures

    def move_on(*arguments):
        found = photograph(*arguments)
        assert all(one.png for one in found)
        Run.objects.filter(pk=run.pk).update(generation=run.generation + 1)
        return found

    monkeypatch.setattr(camera, "take_pictures", move_on)
    row = take(run)
    assert (row.status, row.pictures) == ("canceled", [])
    assert not run.artifacts.filter(name__startswith="screenshot_").exists()


@pytest.mark.root
@pytest.mark.browser
@pytest.mark.full
def test_a_surface_that_shows_another_run_is_not_photographed(small, ready_small, monkeypatch):
    run = ready_small("shots/other", files("rgb(255,0,0)"))
    Run.objects.filter(pk=run.pk).update(commit_sha="f" * 40)  # the surface shows the one before
    for status in ["waiting"] * (MAX_ATTEMPTS - 1) + ["failed"]:
        row = take(run)
        assert (row.status, row.pictures) == (status, [])
        assert "did not show" in row.detail


@pytest.mark.root
@pytest.mark.browser
@pytest.mark.full
def test_a_worker_that_is_killed_leaves_no_browser_and_the_next_one_begins_again(ready_small):
    run = ready_small("shots/killed", files("rgb(255,0,0)"))
    screenshots.sweep(settings.OROBOROS)
    user = settings.OROBOROS.screenshot_user
    worker = forked(screenshots.execute_next)
    wait_until(lambda: len(user.pids()) > 3)  # the program, and several of Chromium's
    os.kill(worker, signal.SIGKILL)
    assert wait_for(worker) != 0
    row = ScreenshotSet.objects.get(run=run)
    assert (row.status, row.attempts) == ("running", 1)
    ScreenshotSet.objects.update(claim_expires_at=row.requested_at, enqueued_at=None)
    assert take(run).status == "taken"
    assert not user.pids()
    run.refresh_from_db()
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
