"""The disk space of a slot's run, and what ends because of it."""

import os

from slots.runtime import disk_usage
from slots.runtime.disk_usage import DiskWatch, describe_excess, measure_mb

MEBIBYTE = 2**20


def fill(path, megabytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * megabytes * MEBIBYTE)


def test_each_file_counts_once_however_many_names_it_has(tmp_path):
    fill(tmp_path / "a" / "file", 3)
    os.link(tmp_path / "a" / "file", tmp_path / "again")
    (tmp_path / "link").symlink_to("/usr")
    assert measure_mb(tmp_path, 100) == 3
    assert measure_mb(tmp_path / "absent", 100) == 0


def test_the_counting_ends_above_what_is_enough(tmp_path):
    fill(tmp_path / "a" / "file", 3)
    assert measure_mb(tmp_path, 1) == 2


def test_a_slot_above_its_quota_is_named_with_the_setting(config, slot):
    config.environ["PREVIEW_DISK_MB"] = "2"
    assert describe_excess(config, slot) == ""
    fill(slot.folder / "worktree" / "big", 3)
    assert "preview-1 uses more than 2 MB of disk space (PREVIEW_DISK_MB)" in describe_excess(
        config, slot
    )


def test_a_watch_ends_a_command_above_the_quota_and_one_that_is_stopped(config, slot, monkeypatch):
    monkeypatch.setattr(disk_usage, "CHECK_SECONDS", 0.0)
    config.environ["PREVIEW_DISK_MB"] = "2"
    watch = DiskWatch(config, slot, lambda: False)
    assert (watch(), watch.excess) == (False, "")
    fill(slot.folder / "home" / "big", 3)
    assert watch() and "preview-1" in watch.excess
    assert DiskWatch(config, slot, lambda: True)()
