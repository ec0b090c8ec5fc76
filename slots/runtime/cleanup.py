"""Everything a run leaves on a slot, taken away in order; what cannot be is said. Idempotent."""

from collections.abc import Callable

from host.config import Config, SlotConfig
from host.errors import Refused
from slots.runtime import backend, surface, worktree


def clean(config: Config, slot: SlotConfig) -> list[str]:
    """Free the slot: processes, database sessions, idle responder in, database, files, surface.

    Returns what is not clean, a sentence each: a step that fails does not keep the next ones
    from their work. An empty list means that nothing of the run is left.
    """
    from host.postgres import administration  # psycopg takes 0.2 s to import

    admin = administration.Admin(config)
    steps: list[Callable[[], object]] = [
        lambda: backend.end(config, slot),
        lambda: admin.end_sessions(slot.database),
        lambda: backend.make_idle(config, slot),
        lambda: admin.drop(slot.database),
        lambda: worktree.sweep(config, slot),
        lambda: surface.show_free(config, slot),
    ]
    not_clean = []
    for step in steps:
        try:
            step()
        except Refused as refusal:
            not_clean.append(refusal.detail)
        except OSError as error:
            not_clean.append(f"{slot.slot_id}: {error}.")
    return list(dict.fromkeys(not_clean))


def leftovers(config: Config, slot: SlotConfig) -> list[str]:
    """Look for what a run left on a slot that should be free, and change nothing."""
    from host.postgres import administration

    try:
        found = backend.status(config, slot)
    except Refused as refusal:  # its spec cannot be read
        return [refusal.detail]
    shown = surface.shown(slot)
    left = {
        "no idle responder": not found.is_as_wanted,
        "a database": administration.Admin(config).exists(slot.database),
        "a surface that shows a run": shown is None or shown.mode != "free",
    }
    # An idle responder that was stopped by hand is no leftover.
    meant = {"spec.json"} if found.spec.is_idle else set()
    files = [f"{slot.slot_id} has {name}." for name in sorted(worktree.leftovers(slot) - meant)]
    return files + [f"{slot.slot_id} has {what}." for what, is_there in left.items() if is_there]
