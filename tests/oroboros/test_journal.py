"""Records in systemd's journal: the protocol, the fields, and what is left out of the log."""

import logging
import os
import socket

import pytest
from django.conf import settings
from django.db import InterfaceError, OperationalError, ProgrammingError
from psycopg import errors

from core import outages
from oroboros import journal
from oroboros.log_lines import DatabaseOutages, LogHandler


def make_record(message="a line", level=logging.INFO, error=None, **extra):
    logger = logging.getLogger("runs.engine.events")
    exc_info = (type(error), error, None) if error is not None else None
    return logger.makeRecord(logger.name, level, __file__, 1, message, (), exc_info, None, extra)


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    """A socket in the place of the journal's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "journal"))
        channel.settimeout(5)
        monkeypatch.setattr(journal, "SOCKET", str(tmp_path / "journal"))
        yield channel


def test_a_record_is_sent_with_its_priority_and_fields(receiver):
    record = make_record(run="7", slot="preview-1", release=None, event="merged", actor="worker")
    assert journal.send("first\nsecond", record)
    raw = receiver.recv(4096)
    assert b"MESSAGE\n" + (12).to_bytes(8, "little") + b"first\nsecond\n" in raw
    lines = raw.split(b"\n")
    for field in (b"PRIORITY=5", b"OROBOROS_RUN=7", b"OROBOROS_SLOT=preview-1",
                  b"OROBOROS_EVENT=merged", b"OROBOROS_ACTOR=worker"):  # fmt: skip
        assert field in lines
    assert b"OROBOROS_RELEASE" not in raw


def test_levels_are_the_priorities_of_syslog():
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    records = [make_record(level=level) for level in levels]
    assert [journal.get_priority(record) for record in records] == [7, 6, 4, 3, 2]


def test_a_stream_is_the_journals_if_systemd_says_so(tmp_path, monkeypatch):
    with (tmp_path / "log").open("w") as stream:
        status = os.fstat(stream.fileno())
        assert not journal.is_stream(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert journal.is_stream(stream)
    assert not journal.is_stream(stream)


def test_without_a_journal_a_record_is_written_to_stderr_and_an_event_is_not(capsys):
    handler = LogHandler(settings.OROBOROS)
    handler.handle(make_record("a warning", logging.WARNING))
    handler.handle(make_record("an event", event="merged"))
    written = capsys.readouterr().err
    assert "a warning" in written
    assert "an event" not in written


def raise_from(cause, kind):
    error = kind(str(cause))
    error.__cause__ = cause
    return error


GONE = [
    raise_from(errors.OperationalError("connection refused"), OperationalError),
    raise_from(errors.AdminShutdown("terminating connection"), OperationalError),
    raise_from(errors.InterfaceError("the connection is closed"), InterfaceError),
    raise_from(errors.CannotConnectNow("the database system is starting up"), OperationalError),
]
REFUSED = [
    raise_from(errors.LockNotAvailable("canceling statement"), OperationalError),
    raise_from(errors.DeadlockDetected("deadlock detected"), OperationalError),
    raise_from(errors.UndefinedTable("no such table"), ProgrammingError),
    ValueError("a bug"),
]


@pytest.mark.parametrize("error", GONE, ids=str)
def test_a_lost_connection_is_an_outage_also_as_the_cause_of_another_error(error):
    assert outages.is_outage(error)
    assert outages.is_outage(raise_from(error, RuntimeError))
    assert outages.describe(raise_from(error, RuntimeError)) == str(error)


@pytest.mark.parametrize("error", REFUSED, ids=str)
def test_what_the_server_refused_is_no_outage(error):
    assert not outages.is_outage(error)


def test_the_log_leaves_out_what_follows_from_an_outage(monkeypatch):
    watched = []
    monkeypatch.setattr(outages, "_start_watch", watched.append)
    log = DatabaseOutages()
    assert not log.filter(make_record(level=logging.ERROR, error=GONE[0]))
    assert log.filter(make_record(level=logging.ERROR, error=REFUSED[0]))
    unavailable = make_record("Service Unavailable: /health", logging.ERROR, status_code=503)
    unavailable.name = "django.request"
    assert not log.filter(unavailable)
    assert watched == ["connection refused"]
