"""After clean nothing of the run is left, however often and whatever state it met."""

import psycopg
import pytest

from host.postgres import administration, guard
from slots.runtime import backend, cleanup, surface, worktree
from tests.host.files.test_ownership import deepen
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.test_backend import COMMIT, RUN, SERVE, slot, write

__all__ = ["slot"]


def leased(config, slot):
    """Give the slot all that a run has; returns an open session to its database."""
    admin = administration.Admin(config)
    password = admin.ensure_role(slot.database)
    admin.create(slot.database, slot.database)
    write(config, slot, SERVE + RUN)
    (worktree.path(slot) / "folder").mkdir(mode=0o500)
    (slot.folder / "home").mkdir()
    (slot.folder / "database.done").write_text("a password")
    backend.start(config, slot)
    surface.show_live(config, slot, 17, COMMIT, None)
    target = guard.target(config, slot)
    url = guard.application_url(target, slot.database, password)
    return psycopg.connect(url, connect_timeout=5)


def test_clean_leaves_nothing_of_the_run_and_may_be_repeated(config, slot):
    with leased(config, slot) as session:
        assert len(cleanup.leftovers(config, slot)) == 7
        assert cleanup.clean(config, slot) == []
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert cleanup.leftovers(config, slot) == []
    assert sorted(entry.name for entry in slot.folder.iterdir()) == sorted(worktree.KEPT)
    assert backend.status(config, slot).kind == "idle"
    assert surface.shown(slot).mode == "free"
    assert not worktree.path(slot).exists()
    assert cleanup.clean(config, slot) == []


def test_a_slot_that_never_was_used_becomes_clean(config, slot):
    assert cleanup.clean(config, slot) == []
    assert cleanup.leftovers(config, slot) == []


def test_a_port_that_is_taken_is_said_and_the_rest_is_cleaned(config, slot):
    leased(config, slot).close()
    backend.end(config, slot)
    with echo(slot.backend_port):
        left = cleanup.clean(config, slot)
        assert len(left) == 1
        assert str(slot.backend_port) in left[0]
    assert cleanup.leftovers(config, slot) == ["preview-1 has no idle responder."]
    assert cleanup.clean(config, slot) == []


def test_a_slot_whose_spec_cannot_be_read_is_cleaned(config, slot):
    leased(config, slot).close()
    (slot.folder / "spec.json").write_text("{}")
    [left] = cleanup.leftovers(config, slot)
    assert "spec.json cannot be read" in left
    assert cleanup.clean(config, slot) == []
    assert cleanup.leftovers(config, slot) == []


def test_a_slot_with_folders_of_any_depth_is_cleaned(config, slot):
    leased(config, slot).close()
    deepen(slot.folder / "home" / "deep")
    deepen(worktree.path(slot) / "deep")
    assert cleanup.clean(config, slot) == []
    assert cleanup.leftovers(config, slot) == []
