"""The append-only timeline of runs and slots, and the actors that are not people."""

from typing import Any

from django.conf import settings

from core.clock import ClockTimestamp
from host.masking.known_secrets import read_masks
from runs.models import Event, Run

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
    Event.objects.create(
        run=run,
        slot_id=slot_id,
        at=ClockTimestamp(),
        actor=actor,
        kind=kind,
        text=masks.mask(text),
        data=masks.mask_data(data),
    )
