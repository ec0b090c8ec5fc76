"""What a real browser keeps of one run does not show under the link of the next."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect, sync_playwright

from slots.runtime import surface
from tests.slots.runtime.surface_server import COMMIT, OTHER

pytestmark = pytest.mark.browser
FIRST, SECOND = "feature-first-1a2b3c", "feature-second-4d5e6f"
YEAR = {"Cache-Control": "public, max-age=31536000, immutable"}
PAGE = """<!doctype html><h1>{name}</h1><p></p><script src="/asset.js"></script><script>
document.querySelector("p").textContent = [localStorage.kept, document.cookie, asset].join();
</script>"""
KEEP = """<script>
localStorage.kept = "kept"; document.cookie = "js=1; domain=preview1.localhost";
document.cookie = "own=1"; navigator.serviceWorker.register("/sw.js");
</script>"""
# The one shows what it kept first, the other what the network has: both are common.
WORKERS = {
    "cache first": """
self.addEventListener("install", e => {
  self.skipWaiting();
  e.waitUntil(caches.open("a").then(c => c.addAll(["/", "/asset.js"])));
});
self.addEventListener("activate", e => e.waitUntil(clients.claim()));
self.addEventListener("fetch", e => e.respondWith(caches.match(e.request).then(
  r => r || fetch(e.request)
)));
""",
    "network first": """
self.addEventListener("install", e => self.skipWaiting());
self.addEventListener("activate", e => e.waitUntil(clients.claim()));
self.addEventListener("fetch", e => e.respondWith(fetch(e.request).then(async r => {
  (await caches.open("a")).put(e.request, r.clone());
  return r;
}, () => caches.match(e.request))));
""",
}


class Application(BaseHTTPRequestHandler):
    """The application `server.name`; `server.keeps` is its kind of service worker, or None."""

    def do_GET(self):
        name, keeps = self.server.name, self.server.keeps
        pages = {"/": PAGE.format(name=name) + (KEEP if keeps else ""), "/new": "moved"}
        if self.path == "/asset.js":
            self.reply(200, f"asset = {name!r}", "text/javascript", YEAR)
        elif self.path == "/sw.js" and keeps:
            self.reply(200, WORKERS[keeps], "text/javascript", {"Cache-Control": "no-cache"})
        elif self.path == "/moved" and keeps:
            self.reply(301, "", "text/plain", {"Location": "/new", **YEAR})
        else:
            body = pages.get(self.path, f"<h1>{name} {self.path}</h1>")
            self.reply(200, body, "text/html", {"Set-Cookie": "c=1; Domain=preview1.localhost"})

    def reply(self, status, body, content_type, headers):
        self.send_response(status)
        for name, value in {"Content-Type": content_type, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@contextmanager
def serve(port, name, keeps):
    server = ThreadingHTTPServer(("127.0.0.1", port), Application)
    server.name, server.keeps = name, keeps
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def chromium():
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


def fill_browser(page, url):
    """Look at the application until the browser shows it from its service worker."""
    page.goto(f"{url}/moved")
    page.goto(url)
    page.evaluate("navigator.serviceWorker.ready")
    page.wait_for_function("navigator.serviceWorker.controller")
    response = page.goto(url)
    assert response.from_service_worker
    expect(page.locator("p")).to_contain_text("kept")


def test_next_run_of_a_slot_has_none_of_the_browsers_state(page, web, config, slot):
    first, second = (config.frontend_url(slot, label) for label in (FIRST, SECOND))
    surface.show_live(config, slot, 17, COMMIT, None, label=FIRST)
    with serve(slot.backend_port, "first", "cache first") as application:
        fill_browser(page, first)
        surface.show_live(config, slot, 18, OTHER, None, label=SECOND)
        application.name, application.keeps = "second", None
        response = page.goto(second)
        assert (response.from_service_worker, response.headers["x-oroboros-run"]) == (False, "18")
        expect(page.locator("h1")).to_have_text("second")
        expect(page.locator("p")).to_have_text(",,second")
        page.goto(f"{second}/moved")
        expect(page.locator("h1")).to_have_text("second /moved")
        page.goto(first)
        expect(page.locator("h1")).to_have_text(f"The preview {FIRST} is not here")


@pytest.mark.full
@pytest.mark.parametrize("worker", WORKERS)
def test_next_commit_of_a_branch_replaces_what_the_browser_kept(page, web, config, slot, worker):
    url = config.frontend_url(slot, FIRST)
    surface.show_live(config, slot, 17, COMMIT, None, label=FIRST)
    with serve(slot.backend_port, "first", worker) as application:
        fill_browser(page, url)
        surface.show_live(config, slot, 17, OTHER, None, label=FIRST)
        application.name, application.keeps = "second", None
        page.goto(url)
        expect(page.locator("h1")).to_have_text("second")
        expect(page.locator("p")).to_have_text(",js=1; own=1,second")
        page.goto(f"{url}/moved")
        expect(page.locator("h1")).to_have_text("second /moved")
