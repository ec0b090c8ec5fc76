"""The disk space of a slot's run, and what ends because of it."""

import os
from dataclasses import replace

import pytest

from host.disk import meter, space
from host.disk.meter import Answer
from host.disk.space import Place, Space
from host.process.users import User
from slots.runtime import disk_usage
from slots.runtime.disk_usage import DiskWatch, describe_excess, list_slot_places

MEBIBYTE = 2**20


def fill(path, megabytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * megabytes * MEBIBYTE)


def test_a_slot_above_its_quota_is_named_with_the_setting(config, slot):
    config.environ["PREVIEW_DISK_MB"] = "2"
    places = list_slot_places(config, slot)
    assert describe_excess(config, slot.slot_id, places) == ""
    fill(slot.folder / "worktree" / "big", 3)
    excess = describe_excess(config, slot.slot_id, places)
    assert "preview-1 uses more than 2 MB of disk space (PREVIEW_DISK_MB)" in excess


def test_the_homes_of_a_slots_commands_count_by_their_owner(config, slot, monkeypatch):
    """A build that writes into HOME or TMPDIR writes outside of its slot's folder."""
    owners = User(os.getuid(), os.getgid()), User(os.getuid() + 1, os.getgid())
    config.environ["PREVIEW_DISK_MB"] = "2"
    fill(config.var / "tmp" / "home-1" / "big", 3)
    found = []
    for owner in owners:
        monkeypatch.setattr(type(config), "slot_user", lambda config, slot, user=owner: user)
        found.append(describe_excess(config, slot.slot_id, list_slot_places(config, slot)))
    assert "uses more than 2 MB" in found[0]
    assert found[1] == ""


def test_files_in_all_places_count_together(config, tmp_path):
    config.environ["PREVIEW_DISK_MB"] = "5"
    for name in ("tree", "install"):
        fill(tmp_path / name / "file", 3)
    places = [Place(tmp_path / "tree"), Place(tmp_path / "install")]
    assert describe_excess(config, "The build", places[:1]) == ""
    assert describe_excess(config, "The build", places).startswith("The build uses more than 5 MB")


@pytest.fixture
def answers(monkeypatch):
    """What the measuring unit answers in turn."""
    answers = []
    monkeypatch.setattr(disk_usage, "METER_SECONDS", 0.0)
    monkeypatch.setattr(space, "measure", lambda *arguments: Space(1, is_complete=False))
    monkeypatch.setattr(meter, "measure_all", lambda *arguments: answers.pop(0))
    return answers


def test_files_that_cannot_be_measured_twice_in_a_row_are_an_excess(config, answers):
    silent = Answer(has_started=True)
    config = replace(config, is_systemd=True)
    answers += [silent, Answer(1), Answer(), silent, Answer(), silent]
    found = [describe_excess(config, "preview-9", []) for _ in range(6)]
    assert found[:5] == [""] * 5
    assert found[5].startswith("preview-9 has files whose disk space cannot be measured")


def test_a_watch_ends_a_command_above_the_quota_and_one_that_is_stopped(config, slot, monkeypatch):
    monkeypatch.setattr(disk_usage, "CHECK_SECONDS", 0.0)
    config.environ["PREVIEW_DISK_MB"] = "2"
    places = list_slot_places(config, slot)
    watch = DiskWatch(config, "preview-1", places, lambda: False)
    assert (watch(), watch.excess) == (False, "")
    fill(slot.folder / "home" / "big", 3)
    assert watch() and "preview-1" in watch.excess
    assert DiskWatch(config, "preview-1", places, lambda: True)()
