"""Cleaning a slot in every state that a run may leave."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from host.files import leftovers
from host.postgres import administration, guard
from host.process import runner
from slots.runtime import backend, cleanup, surface, worktree
from tests.host.files.test_ownership import create_deep_tree
from tests.host.processes import wait_for
from tests.slot_leftovers import assert_nothing_is_left
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.test_backend import COMMIT, RUN, SERVE, slot, write

__all__ = ["slot"]


def use_slot(config, slot):
    """Create everything that a run has on a slot; return an open session to its database."""
    admin = administration.DatabaseAdmin(config)
    password = admin.ensure_role(slot.database)
    admin.create(slot.database, slot.database)
    write(config, slot, SERVE + RUN)
    (worktree.path(slot) / "folder").mkdir(mode=0o500)
    (slot.folder / "home").mkdir()
    (slot.folder / "database.done").write_text("a password")
    backend.start(config, slot)
    surface.show_live(config, slot, 17, COMMIT, None)
    target = guard.resolve_target(config, slot)
    url = guard.application_url(target, slot.database, password)
    return psycopg.connect(url, connect_timeout=60)


def test_clean_slot_leaves_nothing_of_the_run_and_may_be_repeated(config, slot):
    with use_slot(config, slot) as session:
        assert len(cleanup.find_leftovers(config, slot)) == 7
        assert cleanup.clean_slot(config, slot) == []
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert cleanup.find_leftovers(config, slot) == []
    assert sorted(entry.name for entry in slot.folder.iterdir()) == sorted(
        worktree.PERMANENT_ENTRIES
    )
    assert backend.status(config, slot).kind == "idle"
    assert surface.read_state(slot).mode == "free"
    assert not worktree.path(slot).exists()
    assert cleanup.clean_slot(config, slot) == []


def test_a_slot_shows_that_it_is_free_before_its_idle_page_answers(config, slot, monkeypatch):
    use_slot(config, slot).close()
    modes = []
    start = backend.replace_with_idle_page

    def start_idle_page(*words):
        modes.append(surface.read_state(slot).mode)
        return start(*words)

    monkeypatch.setattr(backend, "replace_with_idle_page", start_idle_page)
    assert cleanup.clean_slot(config, slot) == []
    assert modes == ["free"]


def test_unused_slot_is_cleaned(config, slot):
    assert cleanup.clean_slot(config, slot) == []
    assert cleanup.find_leftovers(config, slot) == []


def test_taken_port_is_reported_and_the_rest_is_cleaned(config, slot):
    use_slot(config, slot).close()
    backend.remove_backend(config, slot)
    with echo(slot.backend_port):
        left = cleanup.clean_slot(config, slot)
        assert len(left) == 1
        assert str(slot.backend_port) in left[0]
    assert cleanup.find_leftovers(config, slot) == ["preview-1 has no idle page."]
    assert cleanup.clean_slot(config, slot) == []


def test_slot_with_an_unreadable_spec_is_cleaned(config, slot):
    use_slot(config, slot).close()
    (slot.folder / "spec.json").write_text("{}")
    [left] = cleanup.find_leftovers(config, slot)
    assert "spec.json cannot be read" in left
    assert cleanup.clean_slot(config, slot) == []
    assert cleanup.find_leftovers(config, slot) == []


def test_slot_with_deep_folders_is_cleaned(config, slot):
    use_slot(config, slot).close()
    create_deep_tree(slot.folder / "home" / "deep")
    create_deep_tree(worktree.path(slot) / "deep")
    assert cleanup.clean_slot(config, slot) == []
    assert cleanup.find_leftovers(config, slot) == []


# Leaves a shared memory segment, files, and a process that no parent and no mark leads to.
HOSTILE = """
import ctypes, os, time
libc = ctypes.CDLL(None)
assert libc.shmget(0, 4096, 0o1600) >= 0
for folder in ("/tmp", "/var/tmp", "/dev/shm"):
    open(f"{folder}/left-{os.getuid()}", "w").close()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.wait()
"""


def start_hostile(config, slot):
    """Run it as the slot's user, in the folders of all users; returns the user."""
    user = replace(config.slot_user(slot), folders=None)
    argv = [sys.executable, "-I", "-S", "-c", HOSTILE]
    env = {"PATH": os.environ["PATH"]}
    process = runner.spawn(argv, cwd=Path("/"), env=env, user=user, log=config.var / "log" / "h")
    wait_for(lambda: not process.is_alive() and user.pids())
    return user


@pytest.mark.root
def test_nothing_of_a_hostile_run_is_left_after_its_lease(config, slot):
    use_slot(config, slot).close()
    user = start_hostile(config, slot)
    assert len(leftovers.find_leftovers(user.uid)) == 4
    assert cleanup.clean_slot(config, slot) == []
    assert_nothing_is_left(config, slot)


@pytest.mark.root
def test_a_process_that_left_every_parent_ends_when_the_backend_is_stopped(config, slot):
    write(config, slot, SERVE + RUN)
    backend.start(config, slot)
    user = start_hostile(config, slot)
    backend.stop(config, slot)
    assert user.pids() == set()
    leftovers.remove_leftovers(user.uid)
