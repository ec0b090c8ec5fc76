"""The folders of production's files are closed once their readers' processes have the group."""

import grp
import os
import pwd
import stat
from types import SimpleNamespace

import pytest

from host.config import load
from host.files import ownership
from ops.installed import production_folders

GID = 4_000_001


@pytest.fixture
def config(tmp_path, monkeypatch):
    """An installation whose group exists; `readers` are the groups of the running processes."""
    loaded = load({"OROBOROS_VAR": str(tmp_path / "var")})
    loaded.var.mkdir()
    entry = SimpleNamespace(pw_uid=os.geteuid(), gr_gid=os.getegid() + 1, gr_mem=["oroboros"])
    monkeypatch.setattr(grp, "getgrnam", lambda name: entry)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: entry)
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: None)
    return loaded


@pytest.mark.parametrize(("groups", "count"), [([], 2), ([{1}, set()], 0)])
def test_folders_are_closed_only_when_no_reader_would_lose_them(config, monkeypatch, groups, count):
    monkeypatch.setattr(production_folders, "_read_groups_of_readers", lambda: iter(groups))
    assert len(production_folders.list_open(config)) == count
    readers = [{os.getegid() + 1, 5}]
    monkeypatch.setattr(production_folders, "_read_groups_of_readers", lambda: iter(readers))
    assert [path.name for path in production_folders.list_open(config)] == [
        "activations",
        "releases",
    ]
    production_folders.close(config, "oroboros")
    modes = [
        stat.S_IMODE((config.var / name).stat().st_mode) for name in ("activations", "releases")
    ]
    assert modes == [0o710, 0o710]


def test_a_new_installation_closes_them_before_the_group_exists(config, monkeypatch):
    def refuse(name):
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", refuse)
    # An upgrade: a process without the group reads them.
    assert production_folders.list_open(config) == []
    monkeypatch.setattr(pwd, "getpwnam", refuse)
    assert len(production_folders.list_open(config)) == 2


@pytest.mark.root
def test_a_folder_of_the_group_stays_closed_and_others_stay_open(tmp_path):
    config = load({"OROBOROS_VAR": str(tmp_path / "var")})
    ownership.restrict_var(config)
    releases = config.var / "releases"
    assert stat.S_IMODE(releases.stat().st_mode) == 0o711
    os.chown(releases, -1, GID)
    ownership.restrict_var(config)
    assert stat.S_IMODE(releases.stat().st_mode) == 0o710
    assert stat.S_IMODE((config.var / "activations").stat().st_mode) == 0o711
