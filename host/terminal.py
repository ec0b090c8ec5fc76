"""Makes sure that nothing that is printed controls a terminal: root reads what branches contain."""

import sys
from typing import Any, TextIO

from host.visible_text import format_for_terminal


class VisibleStream:
    """A text stream that writes marks such as `<U+001B>` in place of what would be hidden."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write the text with its hidden characters marked, and without colours."""
        self._stream.write(format_for_terminal(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each of the lines as `write` does."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def protect_streams() -> None:
    """Have this process print to stdout and stderr through `VisibleStream` from now on."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, VisibleStream):
            setattr(sys, name, VisibleStream(stream))
