"""Logs are rotated while their processes write to them."""

import os

import pytest

from host import config
from host.files import log_files
from runs.lifecycle.supervisor import trim_logs


@pytest.fixture(autouse=True)
def small_logs(monkeypatch):
    monkeypatch.setattr(log_files, "LOG_BYTES", 1000)


def test_a_log_that_grows_while_its_process_writes_is_rotated(tmp_path):
    path = tmp_path / "api.log"
    with log_files.open_append(path) as log:
        log.write(b"lost\n" + b"x" * 1000 + b"\nlast\n")
        assert log_files.trim(path)
        log.write(b"next\n")
    assert path.read_bytes() == b"next\n"
    old = path.with_name("api.log.1")
    # From a whole line on: of the long one its end alone would have been left.
    assert (old.read_bytes(), old.stat().st_mode & 0o777) == (b"last\n", 0o600)
    assert not log_files.trim(path)


def test_a_link_is_neither_read_nor_truncated(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"x" * 2000)
    (tmp_path / "a.log").symlink_to(target)
    assert not log_files.trim(tmp_path / "a.log")
    assert target.stat().st_size == 2000


def test_the_previous_log_is_replaced_and_not_written_to(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"y" * 2000)
    (tmp_path / "a.log.1").write_bytes(b"of a run")
    os.link(tmp_path / "a.log.1", tmp_path / "artifact")
    assert log_files.trim(path)
    assert (tmp_path / "artifact").read_bytes() == b"of a run"


def test_the_supervisor_trims_every_log_of_ours(tmp_path):
    names = ["log/ouroboros-api.log", "log/queue.log", "log/slots/preview-1.log"]
    names += ["log/releases/activation-1.log", "postgres/postgres.log"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 2000)
    trim_logs(config.load({"OROBOROS_VAR": str(tmp_path)}))
    assert [(tmp_path / name).stat().st_size for name in names] == [0] * len(names)
