"""A person's browser at a running stack, which lists everything that went wrong in it."""

import re
from collections import Counter
from urllib.parse import urlsplit

from tests.chromium import WIDE

TOKEN = "csrfmiddlewaretoken"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
# A poll that the next page cuts off. It has no answer, and did not fail.
CUT_OFF = "net::ERR_ABORTED"
LINKS_OF_A_KIND = 2
# The status of a page, and the addresses of the admin that it links to.
READ_LINKS = """async address => {
  const response = await fetch(address);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const links = [...page.querySelectorAll("a[href]")].map(
    (link) => new URL(link.getAttribute("href"), response.url));
  const own = links.filter(
    (url) => url.origin === location.origin && url.pathname.startsWith("/admin/"));
  return [response.status, own.map((url) => url.pathname + url.search)];
}"""
POST = """async address => {
  const body = new URLSearchParams({ reason: "none" });
  return (await fetch(address, { method: "POST", body })).status;
}"""


class BrowserSession:
    """A logged-in person; `problems` has console errors, failed requests, forms without a token."""

    def __init__(self, browser, config, name, password):
        self.name, self.home = name, config.admin_url.partition("/admin")[0]
        self.context = browser.new_context(viewport=WIDE, base_url=self.home)
        # What is requested in the other page is no part of `problems`.
        self.page, self.other = self.context.new_page(), self.context.new_page()
        self.problems, self.changes = [], []
        self.page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        self.page.on("console", self._note_message)
        self.page.on("requestfailed", self._note_failure)
        self.page.on("request", self._note_request)
        self.page.on("response", self._note_response)
        self._log_in(name, password)

    def _log_in(self, name, password):
        self.page.goto("/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url(f"{self.home}/admin/")
        self.other.goto("/admin/account/")

    def _note_message(self, message):
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _note_failure(self, request):
        if request.failure != CUT_OFF:
            self.problems.append(f"{request.method} {request.url}: {request.failure}")

    def _note_request(self, request):
        if request.method in SAFE_METHODS:
            return
        self.changes.append(request.url)
        if f"{TOKEN}=" not in (request.post_data or "") and "x-csrftoken" not in request.headers:
            self.problems.append(f"{request.method} {request.url} has no CSRF token")

    def _note_response(self, response):
        if response.status >= 400:
            self.problems.append(f"{response.request.method} {response.url}: {response.status}")

    def open(self, address):
        self.page.goto(address, wait_until="networkidle")

    def click(self, name):
        """Follow the link, or press the button, of that name; one of the page's own content."""
        content = self.page.locator("main")
        link = content.get_by_role("link", name=name, exact=True)
        button = content.get_by_role("button", name=name, exact=True)
        link.or_(button).first.click()

    def perform(self, address, button, **fields):
        """Fill in the form at the address, and press its button."""
        self.open(address)
        for name, value in fields.items():
            self.page.locator(f"[name={name}]").fill(value)
        self.click(button)

    def list_links(self):
        """Return every address of the admin that links lead to, with the status of its answer.

        From the dashboard on, of each kind of row and of each query the first few.
        """
        statuses, kinds, waiting = {}, Counter(), ["/admin/"]
        while waiting:
            address = waiting.pop(0)
            statuses[address], links = self.other.evaluate(READ_LINKS, address)
            for link in links:
                kind = _get_kind(link)
                if link in statuses or link in waiting or kinds[kind] >= LINKS_OF_A_KIND:
                    continue
                kinds[kind] += 1
                waiting.append(link)
        return statuses

    def post_without_token(self, addresses):
        """Return the statuses of forms that are sent with the person's cookies and no token."""
        return {address: self.other.evaluate(POST, address) for address in addresses}

    def close(self):
        self.context.close()


def _get_kind(address):
    """Return the address without what names a row, and without values of its query."""
    parts = urlsplit(address)
    path = re.sub(r"[^/]*\d[^/]*", "…", parts.path)
    return path, tuple(sorted(name.partition("=")[0] for name in parts.query.split("&")))
