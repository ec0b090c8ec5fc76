"""Sends log records to systemd's journal with fields by which `journalctl` selects them.

The protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import logging
import os
import socket
from contextlib import suppress
from typing import TextIO

SOCKET = "/run/systemd/journal/socket"
# The attributes of a record (logging's `extra`) that become fields: OROBOROS_RUN and so on.
ATTRIBUTES = ("run", "slot", "release", "event", "actor")
# Priorities of syslog(3). An event is a notice: the units of timers store no less.
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
NOTICE, CRITICAL = 5, 2


def is_stream(stream: TextIO) -> bool:
    """Return whether systemd connected the stream to the journal: see systemd.exec(5)."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def send(message: str, record: logging.LogRecord) -> bool:
    """Send the message with the record's priority and fields; return whether it was taken."""
    fields = {"MESSAGE": message, "PRIORITY": str(get_priority(record))}
    fields |= {"SYSLOG_IDENTIFIER": "oroboros", "OROBOROS_LOGGER": record.name}
    fields |= {
        f"OROBOROS_{name.upper()}": str(value)
        for name in ATTRIBUTES
        if (value := getattr(record, name, None))
    }
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect(SOCKET)
        channel.sendall(b"".join(encode_field(*field) for field in fields.items()))
        return True
    return False


def get_priority(record: logging.LogRecord) -> int:
    """Return the record's priority for syslog."""
    if hasattr(record, "event"):
        return NOTICE
    return PRIORITIES.get(record.levelno, CRITICAL)


def encode_field(name: str, value: str) -> bytes:
    """Return a field as the protocol has it; the length comes first where it has several lines."""
    raw = value.encode(errors="surrogateescape")
    if b"\n" not in raw:
        return name.encode() + b"=" + raw + b"\n"
    return name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n"
