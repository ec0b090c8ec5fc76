"""An outage of the database is announced when it begins and when it ends, by one process."""

import dataclasses
import logging

import psycopg
import pytest

from core import outages
from host.errors import Refused


@pytest.fixture
def answers(settings, tmp_path, monkeypatch):
    """Return the list of what the server does at each probe; then it answers."""
    settings.OROBOROS = dataclasses.replace(settings.OROBOROS, var=tmp_path)
    (tmp_path / "run").mkdir()
    left = []
    monkeypatch.setattr(outages, "is_answering", lambda: left.pop(0) if left else True)
    monkeypatch.setattr(outages, "PROBE_SECONDS", 0.0)
    return left


def list_lines(caplog):
    return [record.getMessage() for record in caplog.records if record.name == outages.__name__]


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(answers, caplog):
    caplog.set_level(logging.INFO)
    answers += [False, False, False]
    outages._watch("connection refused")
    begin, end = list_lines(caplog)
    assert begin.endswith("connection refused")
    assert end.startswith("The database answers again after")
    assert not outages.is_open()


def test_a_process_that_notices_an_announced_outage_says_nothing_until_its_end(answers, caplog):
    caplog.set_level(logging.INFO)
    outages._marker().write_text("0")
    assert outages.is_open()
    answers += [False, False]
    outages._watch("connection refused")
    [end] = list_lines(caplog)
    assert "answers again" in end


def test_while_another_process_watches_nothing_is_said(answers, caplog):
    caplog.set_level(logging.INFO)
    with outages.file_lock(outages._lock(), seconds=0) as is_taken:
        assert is_taken
        outages._watch("connection refused")
    assert list_lines(caplog) == []


def test_sessions_that_an_outage_ended_are_not_announced_after_it(answers, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        outages._watch("terminating connection due to administrator command")
    [line] = list_lines(caplog)
    assert line.startswith("A session with the database was ended")


def test_a_lost_server_of_the_previews_is_the_outage_if_ours_is_gone_too(answers, monkeypatch):
    watched = []
    monkeypatch.setattr(outages, "_start_watch", watched.append)
    error = Refused("database_unavailable", "the previews' server does not answer")
    error.__cause__ = psycopg.OperationalError("connection refused")
    assert not outages.absorb(error)
    answers.append(False)
    assert outages.absorb(error)
    assert len(watched) == 1
    assert not outages.absorb(Refused("slot_unknown", "no such slot"))


def test_an_outage_whose_watcher_was_killed_is_watched_again(answers, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(outages, "_start_watch", outages._watch)
    outages.resume()
    assert list_lines(caplog) == []
    outages._marker().write_text("0")
    outages.resume()
    assert len(list_lines(caplog)) == 1
