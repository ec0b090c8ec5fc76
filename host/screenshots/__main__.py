"""Takes the pictures of one address: reads a plan as JSON from its input, prints a report as JSON.

It runs as a user without rights, beside the pages of unreviewed code: what it prints is read
(`host.screenshots.pictures`) as something that those pages could have written.
"""

import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.deadline import Deadline
from host.files import safe_files
from host.process import runner
from host.screenshots import chromium
from host.screenshots.devtools import Browser, BrowserFailed

START_SECONDS = 60.0
STOP_SECONDS = 5.0
# Until the load event of a page, and for a command such as the picture.
LOAD_SECONDS = 30.0
COMMAND_SECONDS = 30.0
# After the load event: how long nothing is loaded any more, and how long that is waited for.
QUIET_SECONDS, SETTLE_SECONDS = 1.0, 10.0
# Descriptors of --remote-debugging-pipe, and the lowest number of our own.
COMMANDS, ANSWERS, OUR_FIRST = 3, 4, 10
LOG = "chromium.log"
REDUCED_MOTION = [{"name": "prefers-reduced-motion", "value": "reduce"}]


def take_pictures(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return for each page of the plan its picture, or why there is none."""
    folder = Path(plan["folder"])
    has_sandbox = can_have_sandbox(folder)
    with start_browser(plan, folder, has_sandbox=has_sandbox) as browser:
        deadline = Deadline(START_SECONDS)
        browser.call("Browser.setDownloadBehavior", deadline, behavior="deny")
        pictures = [take_or_explain(browser, page) for page in plan["pages"]]
    return {"has_sandbox": has_sandbox, "pictures": pictures}


def can_have_sandbox(folder: Path) -> bool:
    """Return whether this process may make the user namespace that Chromium's sandbox needs."""
    try:
        done = runner.capture(chromium.NAMESPACE_TEST, cwd=folder, timeout=COMMAND_SECONDS)
    except OSError:
        return False
    return done.exit_code == 0


@contextmanager
def start_browser(plan: Mapping[str, Any], folder: Path, *, has_sandbox: bool) -> Iterator[Browser]:
    """Start Chromium with the ends of two pipes, and end it."""
    commands, our_commands = _open_pipe()
    our_answers, answers = _open_pipe()
    for source, number in ((commands, COMMANDS), (answers, ANSWERS)):
        os.dup2(source, number, inheritable=False)
        os.close(source)
    process = runner.spawn(
        chromium.build_argv(
            plan["chromium"], folder, plan["host"], plan["address"], has_sandbox=has_sandbox
        ),
        cwd=folder,
        env=chromium.build_environment(folder),
        user=None,
        log=folder / LOG,
        die_with_parent=True,
        pass_fds=(COMMANDS, ANSWERS),
    )
    for number in (COMMANDS, ANSWERS):  # now they close with Chromium
        os.close(number)
    try:
        yield Browser(our_commands, our_answers)
    finally:
        runner.stop(process, grace=STOP_SECONDS)


def _open_pipe() -> tuple[int, int]:
    """Return both ends of a pipe, with numbers above those that Chromium uses."""
    ends = os.pipe()
    first, second = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, OUR_FIRST) for end in ends)
    for end in ends:
        os.close(end)
    return first, second


def take_or_explain(browser: Browser, page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the picture of a page as base64 and its status, or `error`.

    Each page has a browser context of its own: neither cookies nor storage of the one before.
    """
    deadline = Deadline(COMMAND_SECONDS)
    context = browser.call("Target.createBrowserContext", deadline)["browserContextId"]
    try:
        return take_picture(browser, context, page)
    except BrowserFailed as failed:
        return {"error": str(failed)}
    finally:
        # Not waited for: a page that hangs may not close.
        browser.send("Target.disposeBrowserContext", browserContextId=context)


def take_picture(browser: Browser, context: str, page: Mapping[str, Any]) -> dict[str, Any]:
    """Return the picture of a page once it has loaded. Raises BrowserFailed."""
    deadline = Deadline(COMMAND_SECONDS)
    size = {"width": page["width"], "height": page["height"]}
    target = browser.call(
        "Target.createTarget", deadline, url="about:blank", browserContextId=context, **size
    )["targetId"]
    session = browser.call("Target.attachToTarget", deadline, targetId=target, flatten=True)[
        "sessionId"
    ]
    for domain in ("Page.enable", "Network.enable"):
        browser.call(domain, deadline, session)
    browser.call(
        "Emulation.setDeviceMetricsOverride",
        deadline,
        session,
        **size,
        deviceScaleFactor=1,
        mobile=page["is_phone"],
    )
    if page["is_phone"]:
        browser.call("Emulation.setTouchEmulationEnabled", deadline, session, enabled=True)
    browser.call("Emulation.setEmulatedMedia", deadline, session, features=REDUCED_MOTION)
    browser.call("Network.setExtraHTTPHeaders", deadline, session, headers=page["headers"])
    status = _load(browser, session, page["url"])
    deadline = Deadline(COMMAND_SECONDS)
    shot = browser.call("Page.captureScreenshot", deadline, session, format="png")
    return {"status": status, "png": shot["data"]}


@dataclass
class PageLoad:
    """How far a page is, by the events of its session; `loader` is the number of the navigation."""

    loader: str
    status: int = 0
    is_loaded: bool = False
    pending: set[str] = field(default_factory=set)

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take note of an event. Raises BrowserFailed if the page crashed."""
        params = event["params"]
        match event["method"]:
            case "Inspector.targetCrashed":
                raise BrowserFailed("the page crashed, as one does that needs too much memory")
            case "Page.loadEventFired":
                self.is_loaded = True
            case "Network.requestWillBeSent":
                self.pending.add(params["requestId"])
            case "Network.loadingFinished" | "Network.loadingFailed":
                self.pending.discard(params["requestId"])
            case "Network.responseReceived" if params["type"] == "Document":
                if params["loaderId"] == self.loader:
                    self.status = int(params["response"]["status"])


def _load(browser: Browser, session: str, url: str) -> int:
    """Navigate, and wait until the page has loaded and drawn. Returns the status of its answer.

    Raises BrowserFailed, also if it does not load in time.
    """
    deadline = Deadline(LOAD_SECONDS)
    answer = browser.call("Page.navigate", deadline, session, url=url)
    if "errorText" in answer:
        raise BrowserFailed(answer["errorText"])
    page = PageLoad(answer["loaderId"])
    while not page.is_loaded:
        event = browser.wait_for_event(deadline)
        if event is None:
            raise BrowserFailed(f"the page did not finish loading within {LOAD_SECONDS:.0f} s")
        if event.get("sessionId") == session:
            page.follow(event)
    _settle(browser, session, page)
    return page.status


def _settle(browser: Browser, session: str, page: PageLoad) -> None:
    """Wait until nothing was asked for or answered for a while: scripts load what they draw.

    A page that keeps a request open, such as an event stream, is waited for SETTLE_SECONDS.
    """
    deadline = Deadline(SETTLE_SECONDS)
    while not deadline.has_passed:
        event = browser.wait_for_event(Deadline(min(QUIET_SECONDS, deadline.seconds_left)))
        if event is None and not page.pending:
            return
        if event is not None and event.get("sessionId") == session:
            page.follow(event)


def report(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return the pictures; without a browser why there is none, with the end of its log."""
    try:
        return take_pictures(plan)
    except BrowserFailed as failed:
        last = safe_files.read_tail(Path(plan["folder"], LOG), 1).strip()
        return {"error": f"{failed}: {last}" if last else str(failed)}


if __name__ == "__main__":
    json.dump(report(json.load(sys.stdin)), sys.stdout)
