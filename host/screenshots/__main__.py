"""Takes the pictures of one address: reads a plan as JSON, prints one line of JSON for each page.

It runs as a user without rights, beside the pages of unreviewed code: what it prints is read
(`host.screenshots.pictures`) as something that those pages could have written.
"""

import fcntl
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.deadline import Deadline
from host.files import safe_files
from host.process import runner
from host.screenshots import chromium
from host.screenshots.devtools import Browser, BrowserEnded, BrowserFailed

STOP_SECONDS = 5.0
# Until the load event of a page, and for each command such as the picture.
LOAD_SECONDS = 30.0
COMMAND_SECONDS = 30.0
# After the load event: how long nothing is loaded any more, and how long that is waited for.
QUIET_SECONDS, SETTLE_SECONDS = 1.0, 10.0
# Descriptors of --remote-debugging-pipe, and the lowest number of our own.
COMMANDS, ANSWERS, OUR_FIRST = 3, 4, 10
LOG = "chromium.log"
OUT_OF_TIME = "the pages before it took all the time"
REDUCED_MOTION = [{"name": "prefers-reduced-motion", "value": "reduce"}]


class Limits:
    """The time of all pages together, of which each part of a page has a share."""

    def __init__(self, seconds: float) -> None:
        self.all = Deadline(seconds)

    def begin(self, seconds: float) -> Deadline:
        """Return the deadline of a part that begins now: never after that of all pages."""
        return Deadline(min(seconds, self.all.seconds_left))


def take_pictures(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield for each page of the plan its picture, or why there is none.

    After a page without a picture Chromium is started anew: it may have ended, or hang in it.
    """
    folder, limits = Path(plan["folder"]), Limits(plan["seconds"])
    has_sandbox = can_have_sandbox(folder)
    pages = deque(plan["pages"])
    while pages and not limits.all.has_passed:
        try:
            with start_browser(plan, folder, has_sandbox=has_sandbox) as browser:
                while pages:
                    found = take_picture(browser, pages[0], limits)
                    pages.popleft()
                    yield found
        except BrowserFailed as failed:
            pages.popleft()
            yield {"error": explain(failed, folder)}
    yield from [{"error": OUT_OF_TIME}] * len(pages)


def explain(failed: BrowserFailed, folder: Path) -> str:
    """Return why a page has no picture; if Chromium ended, with the last line of its log."""
    last = safe_files.read_tail(folder / LOG, 1).strip() if isinstance(failed, BrowserEnded) else ""
    return f"{failed}: {last}" if last else str(failed)


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
        os.close(our_commands)
        os.close(our_answers)
        # The next one begins with an empty profile.
        shutil.rmtree(folder / chromium.PROFILE, ignore_errors=True)


def _open_pipe() -> tuple[int, int]:
    """Return both ends of a pipe, with numbers above those that Chromium uses."""
    ends = os.pipe()
    first, second = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, OUR_FIRST) for end in ends)
    for end in ends:
        os.close(end)
    return first, second


def take_picture(browser: Browser, page: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the picture of a page as base64, once it has loaded, and its status.

    Each page has a browser context of its own: neither cookies nor storage of the one before.
    Raises BrowserFailed.
    """
    deadline = limits.begin(COMMAND_SECONDS)
    context = browser.call("Target.createBrowserContext", deadline)["browserContextId"]
    # Without the context it would concern the default one, in which no page is.
    browser.call("Browser.setDownloadBehavior", deadline, behavior="deny", browserContextId=context)
    session = _open_page(browser, context, page, deadline)
    status = _load(browser, session, page["url"], limits)
    deadline = limits.begin(COMMAND_SECONDS)
    shot = browser.call("Page.captureScreenshot", deadline, session, format="png")
    browser.call("Target.disposeBrowserContext", deadline, browserContextId=context)
    return {"status": status, "png": shot["data"]}


def _open_page(browser: Browser, context: str, page: Mapping[str, Any], deadline: Deadline) -> str:
    """Open a window of the page's size and return its session. Raises BrowserFailed."""
    size = {"width": page["width"], "height": page["height"]}
    target: str = browser.call(
        "Target.createTarget", deadline, url="about:blank", browserContextId=context, **size
    )["targetId"]
    session: str = browser.call("Target.attachToTarget", deadline, targetId=target, flatten=True)[
        "sessionId"
    ]
    for domain in ("Page.enable", "Network.enable"):
        browser.call(domain, deadline, session)
    browser.call("Page.setLifecycleEventsEnabled", deadline, session, enabled=True)
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
    return session


@dataclass
class PageLoad:
    """How far a page is, by the events of its session.

    `loader` is the number of the navigation whose document is shown: a page that opens another one
    changes it, but not the window's empty page before ours. `is_shown`: ours was shown.
    """

    loader: str
    is_shown: bool = False
    is_loaded: bool = False
    statuses: dict[str, int] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)

    @property
    def status(self) -> int:
        """The status of the answer with which the document came; 0 if it is not known."""
        return self.statuses.get(self.loader, 0)

    def follow(self, event: Mapping[str, Any]) -> None:
        """Take note of an event. Raises BrowserFailed if the page crashed."""
        params = event["params"]
        match event["method"]:
            case "Inspector.targetCrashed":
                raise BrowserFailed("the page crashed, as one does that needs too much memory")
            case "Page.frameNavigated" if "parentId" not in params["frame"]:
                self.is_shown = self.is_shown or params["frame"]["loaderId"] == self.loader
                if self.is_shown:
                    self.loader = params["frame"]["loaderId"]
            case "Page.lifecycleEvent" if params["name"] == "load":
                self.is_loaded = self.is_loaded or params["loaderId"] == self.loader
            case "Network.requestWillBeSent":
                self.pending.add(params["requestId"])
            case "Network.loadingFinished" | "Network.loadingFailed":
                self.pending.discard(params["requestId"])
            case "Network.responseReceived" if params["type"] == "Document":
                self.statuses[params["loaderId"]] = int(params["response"]["status"])


def _load(browser: Browser, session: str, url: str, limits: Limits) -> int:
    """Navigate, and wait until the page has loaded and drawn. Returns the status of its answer.

    Raises BrowserFailed, also if it does not load in time.
    """
    deadline = limits.begin(LOAD_SECONDS)
    seconds = deadline.seconds_left
    answer = browser.call("Page.navigate", deadline, session, url=url)
    if "errorText" in answer:
        raise BrowserFailed(answer["errorText"])
    page = PageLoad(answer["loaderId"])
    while not page.is_loaded:
        event = browser.wait_for_event(deadline)
        if event is None:
            raise BrowserFailed(f"the page did not finish loading within {seconds:.0f} s")
        if event.get("sessionId") == session:
            page.follow(event)
    _settle(browser, session, page, limits.begin(SETTLE_SECONDS))
    return page.status


def _settle(browser: Browser, session: str, page: PageLoad, deadline: Deadline) -> None:
    """Wait until nothing was asked for or answered for a while: scripts load what they draw.

    A page that keeps a request open, such as an event stream, is waited for until the deadline.
    """
    while not deadline.has_passed:
        event = browser.wait_for_event(Deadline(min(QUIET_SECONDS, deadline.seconds_left)))
        if event is None and not page.pending:
            return
        if event is not None and event.get("sessionId") == session:
            page.follow(event)


if __name__ == "__main__":
    for picture in take_pictures(json.load(sys.stdin)):
        # A line for each page as it is made: what comes later cannot take it back.
        print(json.dumps(picture), flush=True)
