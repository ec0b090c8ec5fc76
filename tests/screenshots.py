"""Makes the screenshots of the README and of docs/ from a running stack.

    .venv/bin/python -m tests.screenshots

Installs a copy of this checkout, ships the example's branch, lets another one fail, rolls back, and
writes docs/images/*.png on the way. It takes about two minutes and leaves nothing running.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from host.config import HOME
from tests.chromium import NARROW, WIDE, launch_chromium
from tests.system.host import Host

FOLDER = HOME / "docs" / "images"


def main() -> int:
    """Make all screenshots; prints the name of each."""
    FOLDER.mkdir(exist_ok=True)
    host = Host("oroboros-screenshots-")
    try:
        host.script("quickstart", "--ship", seconds=600)
        with open_admin(host) as page:
            make_all(host, page)
    finally:
        host.close()
    return 0


@contextmanager
def open_admin(host: Host) -> Iterator[Page]:
    """Log the admin in, in a browser of a common width."""
    password = host.manage("setup_people", "--reset").rpartition("password ")[2].split()[0]
    with sync_playwright() as playwright:
        browser = launch_chromium(playwright)
        page = browser.new_context(viewport=WIDE, base_url=host.config.admin_url).new_page()
        page.goto("/admin/")
        page.fill("[name=username]", "admin")
        page.fill("[name=password]", password)
        page.keyboard.press("Enter")
        page.wait_for_selector(".oro")
        yield page
        browser.close()


def make_all(host: Host, page: Page) -> None:
    """Take the stack through the states that are shown."""
    failed = host.wait_until_settled(host.start_run("feature/bad-migration"))
    show(page, "run-failed", run_address(failed))
    ready = host.wait_until_settled(host.start_run("feature/conflict"))
    show(page, "run-conflict", run_address(ready))
    changes = host.wait_until_settled(host.start_run("feature/failing-check"))
    show(page, "run-ready", run_address(changes))
    shipped = host.api("/api/runs?branch=feature/reactions").json()["results"][0]
    show(page, "run-changes", f"{run_address(shipped)}#changes", "Changes")
    show(page, "dashboard", "/admin/")
    show(page, "releases", "/admin/releases/release/")
    page.set_viewport_size(NARROW)
    show(page, "phone", run_address(changes))
    page.set_viewport_size(WIDE)
    previous = host.api("/api/releases").json()["results"][1]["release_id"]
    reason = "Reactions are counted twice"
    host.manage("rollback", previous, "--reason", reason, "--accept-schema")
    show(page, "rolled-back", "/admin/")


def run_address(run: dict, page: str = "change") -> str:
    return f"/admin/runs/run/{run['id']}/{page}/"


def show(page: Page, name: str, address: str, heading: str = "") -> None:
    """Write what the window shows of the page from the heading on, when all of it is loaded.

    Raises AssertionError for a page that is an error's.
    """
    answer = page.goto(address, wait_until="networkidle")
    assert answer is not None
    assert answer.ok, (address, answer.status)
    if heading:
        title = page.get_by_role("heading", name=heading).last
        title.evaluate("title => title.closest('section').scrollIntoView()")
    page.screenshot(path=FOLDER / f"{name}.png")
    sys.stdout.write(f"docs/images/{name}.png\n")


if __name__ == "__main__":
    sys.exit(main())
