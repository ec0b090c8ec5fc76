"""The append-only timeline of runs and slots, and the actors that are not people."""

import logging
from typing import Any

from django.conf import settings
from django.db import transaction

from core.clock import ClockTimestamp
from core.prepared_statements import fetch
from host.masking.known_secrets import read_masks
from runs.engine.sql import LIST_KINDS
from runs.models import Event, Run
from slots.models import Lease

log = logging.getLogger(__name__)
# Names of the parts of Oroboros that appear as an event's actor; no account may have one of them
# (accounts/reserved_names.py).
WORKER = "worker"
QUEUE = "queue"
REAPER = "reaper"
RECONCILER = "reconciler"


def record_event(
    kind: str, text: str, *, actor: str, run: Run | None = None, slot_id: str = "", **data: Any
) -> None:
    """Append an event at the database's time; `data` is stored as JSON, and secrets are masked."""
    masks = read_masks(settings.OROBOROS)
    # The time of the insert, not that of the transaction's start, which may have waited for a lock.
    event = Event.objects.create(
        run=run,
        slot_id=slot_id,
        at=ClockTimestamp(),
        actor=actor,
        kind=kind,
        text=masks.mask(text),
        data=masks.mask_data(data),
    )
    if settings.OROBOROS.is_systemd:
        transaction.on_commit(lambda: log_event(event))


def list_kinds() -> list[str]:
    """Return the kinds of the events that there are, in order."""
    [rows] = fetch(LIST_KINDS)
    return [kind for (kind,) in rows]


def log_event(event: Event) -> None:
    """Log the event for systemd's journal, with the fields by which journalctl selects it."""
    lease = Lease.objects.open().filter(run=event.run_id).select_related("slot").first()
    fields = {
        "event": event.kind,
        "actor": event.actor,
        "run": event.run_id,
        "slot": event.slot_id or (str(lease.slot) if lease is not None else ""),
        "release": event.run.release_id if event.run is not None else None,
    }
    log.info("%s", event.text, extra=fields)
