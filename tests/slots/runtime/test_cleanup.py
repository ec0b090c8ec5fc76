"""Cleaning a slot in every state that a run may leave."""

import psycopg
import pytest

from host.postgres import administration, guard
from slots.runtime import backend, cleanup, surface, worktree
from tests.host.files.test_ownership import create_deep_tree
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
    return psycopg.connect(url, connect_timeout=5)


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
