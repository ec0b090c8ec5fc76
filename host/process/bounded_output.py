"""The output of a command on its way to a log: secrets are masked, and its length is bounded.

The command writes to a pipe, which a thread of ours reads. The log gets the output's beginning
while the command runs; of what follows only the end is kept, in memory, and written when the
command has ended, after a line that says how much is left out.
"""

import os
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from host.deadline import Deadline
from host.files import log_files
from host.masking.masks import Masks
from host.process.log_writer import open_pipe

# Of all commands of one log, and of each command at least LEAST_HEAD_BYTES.
HEAD_BYTES = 8 * 1024 * 1024
LEAST_HEAD_BYTES = 64 * 1024
TAIL_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
POLL_SECONDS = 0.1
# For what a process that cannot be killed, and keeps the pipe open, goes on writing.
DRAIN_SECONDS = 2.0
CUT = "[Output beyond {limit:,} bytes is not written here; its last {tail:,} follow at the end.]"
OMITTED = "[{count:,} bytes were left out here.]"


class BoundedWriter:
    """Writes masked output: its first `head` bytes at once, its last `tail` at `finish`."""

    def __init__(self, log: IO[bytes], masks: Masks, head: int, tail: int = TAIL_BYTES) -> None:
        self._log, self._masks = log, masks
        self._head_left, self._head, self._tail = head, head, tail
        self._is_cut, self._is_at_line_start = False, True
        self._pending = b""  # of the head: it may be the beginning of a secret
        self._end = bytearray()
        self._omitted = 0

    def write(self, raw: bytes) -> None:
        """Take the next part of the output. Raises OSError, e.g. if the disk is full."""
        if self._is_cut:
            self._keep_end(raw)
        else:
            self._write_head(self._pending + raw)

    def finish(self) -> None:
        """Write what is left, after a line that says how much was left out."""
        if not self._is_cut:
            self._log.write(self._masks.mask_bytes(self._pending))
            return
        raw, mark = bytes(self._end), b""
        if len(raw) > self._tail or self._omitted:
            masked = self._masks.mask_bytes(raw)
            # The beginning may be the second half of a secret or of a line.
            cut = max(self._masks.longest, len(masked) - self._tail)
            start = masked.find(b"\n", cut) + 1 or cut
            self._omitted += start
            mark, raw = f"{OMITTED.format(count=self._omitted)}\n".encode(), masked[start:]
        self._log.write(mark + (raw if mark else self._masks.mask_bytes(raw)))

    def _write_head(self, raw: bytes) -> None:
        complete = self._masks.split_complete(raw)
        masked, self._pending = self._masks.mask_bytes(raw[:complete]), raw[complete:]
        if len(masked) <= self._head_left:
            self._log.write(masked)
            self._head_left -= len(masked)
            self._is_at_line_start = masked.endswith(b"\n") if masked else self._is_at_line_start
            return
        # At a line's end where there is one: what follows is a line of our own.
        cut = masked.rfind(b"\n", 0, self._head_left) + 1
        if not cut and not self._is_at_line_start:
            cut = self._head_left
            self._log.write(masked[:cut] + b"\n")
        else:
            self._log.write(masked[:cut])
        self._log.write(f"{CUT.format(limit=self._head, tail=self._tail)}\n".encode())
        self._is_cut = True
        self._keep_end(masked[cut:] + self._pending)

    def _keep_end(self, raw: bytes) -> None:
        self._end += raw
        # Twice the tail, so that the bytes are seldom moved.
        if len(self._end) > 2 * (self._tail + self._masks.longest):
            surplus = len(self._end) - self._tail - self._masks.longest
            self._omitted += surplus
            del self._end[:surplus]


@contextmanager
def bounded_output(log: Path, masks: Masks, gid: int | None) -> Iterator[IO[bytes]]:
    """Yield the file that a command's output goes to; its caller may close it once it has begun.

    A process whose group is `gid` may open it again as /dev/stdout, as `open_pipe` says.
    Raises OSError, also if the log is a link.
    """
    with log_files.open_append(log) as file:
        writer = BoundedWriter(file, masks, _choose_head(file))
        source, output = open_pipe(gid)
        has_ended = threading.Event()
        errors: list[OSError] = []
        thread = threading.Thread(
            target=_copy, args=(source, writer, has_ended, errors), name="output", daemon=True
        )
        thread.start()
        try:
            yield output
        finally:
            output.close()
            has_ended.set()
            thread.join()
            os.close(source)
        if errors:
            raise errors[0]


def _choose_head(log: IO[bytes]) -> int:
    return max(LEAST_HEAD_BYTES, HEAD_BYTES - os.fstat(log.fileno()).st_size)


def _copy(
    source: int, writer: BoundedWriter, has_ended: threading.Event, errors: list[OSError]
) -> None:
    """Copy until every writer has closed the pipe, or the command ended and nothing is left.

    After an error of the log the pipe is still read: the command must not wait for ever.
    """
    for raw in _read_chunks(source, has_ended):
        _try_to(errors, writer.write, raw)
    _try_to(errors, writer.finish)


def _try_to(errors: list[OSError], action: Callable[..., None], *arguments: bytes) -> None:
    if not errors:
        try:
            action(*arguments)
        except OSError as error:
            errors.append(error)


def _read_chunks(source: int, has_ended: threading.Event) -> Iterator[bytes]:
    deadline: Deadline | None = None
    while deadline is None or not deadline.has_passed:
        if has_ended.is_set() and deadline is None:
            deadline = Deadline(DRAIN_SECONDS)
        if select.select([source], [], [], 0 if deadline else POLL_SECONDS)[0]:
            raw = os.read(source, CHUNK_BYTES)
            if not raw:
                return
            yield raw
        elif deadline is not None:
            return
