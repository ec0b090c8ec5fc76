"""A client of Chromium's DevTools protocol over a pair of pipes: JSON that ends with a zero byte.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import json
import os
import select
from collections import deque
from typing import Any

from host.deadline import Deadline

READ_BYTES = 1 << 16
# Above the largest picture: noise has under four bytes for each pixel, and base64 a third more.
MESSAGE_BYTES = 12 * 1024 * 1024


class BrowserFailed(Exception):
    """The browser ended, refused a command, or did not answer in time."""


class BrowserEnded(BrowserFailed):
    """The browser is gone, or what it sends is not readable any more."""


class Browser:
    """A running browser; `commands` and `answers` are descriptors of ours."""

    def __init__(self, commands: int, answers: int) -> None:
        self.commands = commands
        self.answers = answers
        self.buffer = bytearray()
        self.events: deque[dict[str, Any]] = deque()
        self.last_id = 0

    def send(self, method: str, session: str = "", **params: Any) -> int:
        """Send a command; returns its number, which its answer has. Raises BrowserEnded."""
        self.last_id += 1
        message: dict[str, Any] = {"id": self.last_id, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        try:
            data = json.dumps(message).encode() + b"\0"
            while data:
                data = data[os.write(self.commands, data) :]
        except BrokenPipeError:
            raise BrowserEnded("Chromium ended") from None
        return self.last_id

    def call(self, method: str, deadline: Deadline, session: str = "", **params: Any) -> Any:
        """Send a command and return its result. Events meanwhile are kept. Raises BrowserFailed."""
        number = self.send(method, session, **params)
        while True:
            message = self._read(deadline)
            if message is None:
                raise BrowserFailed(f"{method} was not answered in time")
            if message.get("id") != number:
                self._keep(message)
            elif "error" in message:
                raise BrowserFailed(f"{method}: {message['error'].get('message', '')}")
            else:
                return message["result"]

    def wait_for_event(self, deadline: Deadline) -> dict[str, Any] | None:
        """Return the next event; None once the deadline has passed. Raises BrowserFailed."""
        while not deadline.has_passed:
            if self.events:
                return self.events.popleft()
            message = self._read(deadline)
            if message is not None:
                self._keep(message)
        return None

    def _keep(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            return  # the answer of a command that was not waited for
        if message["method"] == "Page.javascriptDialogOpening":
            # A page with an open dialog does not go on.
            session = message.get("sessionId", "")
            self.send("Page.handleJavaScriptDialog", session, accept=False)
            return
        self.events.append(message)

    def _read(self, deadline: Deadline) -> dict[str, Any] | None:
        """Return the next message; None once the deadline has passed, however much comes."""
        while not deadline.has_passed:
            if (end := self.buffer.find(b"\0")) >= 0:
                message: dict[str, Any] = json.loads(self.buffer[:end])
                del self.buffer[: end + 1]
                return message
            if len(self.buffer) > MESSAGE_BYTES:
                raise BrowserEnded("Chromium answered with too much")
            if not select.select([self.answers], [], [], deadline.seconds_left)[0]:
                return None
            data = os.read(self.answers, READ_BYTES)
            if not data:
                raise BrowserEnded("Chromium ended")
            self.buffer += data
        return None
