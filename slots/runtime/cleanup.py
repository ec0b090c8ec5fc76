"""Removes everything that a run left on a slot. May be repeated."""

from collections.abc import Callable

from host.config import Config, SlotConfig
from host.errors import Refused
from host.services.redis_server import RedisServer
from slots.runtime import backend, surface, worktree


def clean_slot(config: Config, slot: SlotConfig) -> list[str]:
    """Remove processes, sessions, database, files and surface of the run, in this order.

    Returns a sentence for each step that failed; the others are done all the same. An empty list
    means that nothing of the run is left.
    """
    from host.postgres import administration  # psycopg takes 0.2 s to import

    admin = administration.DatabaseAdmin(config)
    steps: list[Callable[[], object]] = [
        lambda: backend.remove_backend(config, slot),
        lambda: admin.end_sessions(slot.database),
        # Before the idle page, whose answers would else have the run's headers.
        lambda: surface.show_free(config, slot),
        # Before the slow steps: a free slot answers as soon as the run's processes have ended.
        lambda: backend.replace_with_idle_page(config, slot),
        lambda: RedisServer(config, slot.slot_id).remove(),
        lambda: admin.drop(slot.database),
        lambda: worktree.remove_run_files(config, slot),
    ]
    failures = []
    for step in steps:
        try:
            step()
        except Refused as refusal:
            failures.append(refusal.detail)
        except OSError as error:
            failures.append(f"{slot.slot_id}: {error}.")
    return list(dict.fromkeys(failures))


def find_leftovers(config: Config, slot: SlotConfig) -> list[str]:
    """Return a sentence for everything that a run left on a slot that should be free."""
    from host.postgres import administration

    try:
        status = backend.status(config, slot)
    except Refused as refusal:  # its spec cannot be read
        return [refusal.detail]
    state = surface.read_state(slot)
    faults = {
        "no idle page": not status.matches_spec,
        "a Redis server": RedisServer(config, slot.slot_id).is_wanted,
        "a database": administration.DatabaseAdmin(config).exists(slot.database),
        "a surface that shows a run": state is None or state.mode != "free",
    }
    # Stopping an idle page by hand writes a spec without a run.
    expected = {"spec.json"} if status.spec.is_idle else set()
    files = [
        f"{slot.slot_id} has {name}." for name in sorted(worktree.find_leftovers(slot) - expected)
    ]
    return files + [
        f"{slot.slot_id} has {fault}." for fault, is_there in faults.items() if is_there
    ]
