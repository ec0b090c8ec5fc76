"""Connects a command of another user with our terminal, by a pseudo-terminal of its own.

The command never gets our terminal itself: a process that has it open can type into it (TIOCSTI,
ioctl_tty(2)). Where we have no terminal, it gets our files and pipes as they are.
"""

import codecs
import fcntl
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

# util-linux: the command leads a session with its terminal, so that Ctrl-C and job control work.
SETSID = shutil.which("setsid") or "/usr/bin/setsid"
CHUNK_BYTES = 65536
DRAIN_SECONDS = 2.0

Streams = tuple[IO[bytes], IO[bytes], IO[bytes]]


def is_interactive() -> bool:
    """Return whether a person sits at a terminal, for input and for output."""
    return os.isatty(0) and os.isatty(1)


def wrap_argv(argv: list[str]) -> list[str]:
    """Return the command that runs `argv` with its standard input as the controlling terminal."""
    return [SETSID, "--ctty", "--wait", "--", *argv]


@contextmanager
def attach_terminal() -> Iterator[Streams]:
    """Yield the three streams of a command whose terminal is relayed to ours until the end."""
    ours, theirs = os.openpty()
    _copy_size(ours)
    settings = termios.tcgetattr(0)
    previous = signal.signal(signal.SIGWINCH, lambda *_: _copy_size(ours))
    relay = threading.Thread(target=_relay, args=(ours,), daemon=True)
    tty.setraw(0)
    relay.start()
    try:
        with open(theirs, "r+b", buffering=0) as stream:  # noqa: PTH123 — a descriptor
            yield stream, stream, stream
        relay.join(DRAIN_SECONDS)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, settings)
        signal.signal(signal.SIGWINCH, previous)
        os.close(ours)


def _copy_size(ours: int, *_: FrameType) -> None:
    """Give the pseudo-terminal the size of our terminal."""
    with suppress(OSError):
        size = fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(ours, termios.TIOCSWINSZ, size)


def _relay(ours: int) -> None:
    """Copy both ways until every process has closed the pseudo-terminal."""
    sources = [0, ours]
    with suppress(OSError):  # the kernel reports the end of a pseudo-terminal as EIO
        while True:
            ready, _, _ = select.select(sources, [], [])
            if ours in ready:
                _write_all(1, os.read(ours, CHUNK_BYTES))
            elif typed := os.read(0, CHUNK_BYTES):
                _write_all(ours, typed)
            else:
                sources.remove(0)  # our terminal was hung up


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def attach_files() -> Iterator[Streams]:
    """Yield our input and outputs for a command without a terminal; a terminal itself is not given.

    What it prints to a terminal of ours is copied, with hidden characters marked.
    """
    with ExitStack() as stack:
        source = Path(os.devnull).open("rb") if os.isatty(0) else sys.stdin.buffer  # noqa: SIM115
        outputs = [stack.enter_context(_attach_output(number)) for number in (1, 2)]
        yield source, outputs[0], outputs[1]


@contextmanager
def _attach_output(number: int) -> Iterator[IO[bytes]]:
    ours = sys.stdout if number == 1 else sys.stderr
    ours.flush()
    if not os.isatty(number):
        yield ours.buffer
        return
    reading, writing = os.pipe()
    copier = threading.Thread(target=_copy_text, args=(reading, ours), daemon=True)
    copier.start()
    with open(writing, "wb", buffering=0) as stream:  # noqa: PTH123 — a descriptor
        yield stream
    copier.join(DRAIN_SECONDS)


def _copy_text(reading: int, target: IO[str]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with open(reading, "rb", buffering=0) as source:
        while data := source.read(CHUNK_BYTES):
            target.write(decoder.decode(data))
            target.flush()
