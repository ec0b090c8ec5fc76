"""Which labels exist: those of open runs, and of runs that ended not long ago."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock

from django.db.models import Exists, F, OuterRef, Q

from core.clock import ClockTimestamp
from runs.addresses.rules import ENDED_DAYS
from runs.labels import build_label
from runs.models import Run
from slots.models import Lease

# Strangers ask for as many names as they like: the runs are read at most this often.
READ_SECONDS = 2.0


@dataclass(frozen=True)
class KnownLabel:
    """The id of the run that a label is of now, and whether a run of the label ever had a slot."""

    run_id: str
    has_had_slot: bool


class KnownLabels:
    """The labels of runs, as they were at most READ_SECONDS ago."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._labels: Mapping[str, KnownLabel] = {}
        self._read_at = float("-inf")

    def has_had_slot(self, label: str) -> bool:
        """Return whether a run has the label and has had a slot."""
        known = self._read().get(label)
        return known is not None and known.has_had_slot

    def find_run(self, label: str) -> Run | None:
        """Return the run of that label: an open one, else the one that ended last."""
        known = self._read().get(label)
        return Run.objects.filter(pk=known.run_id).first() if known is not None else None

    def _read(self) -> Mapping[str, KnownLabel]:
        with self._lock:
            if self._clock() - self._read_at >= READ_SECONDS:
                self._labels, self._read_at = read_labels(), self._clock()
            return self._labels


def read_labels() -> dict[str, KnownLabel]:
    """Return each label with its run."""
    recent = Q(ended_at=None) | Q(ended_at__gt=ClockTimestamp() - timedelta(days=ENDED_DAYS))
    # The run that counts comes last of those with the same label.
    runs = Run.objects.filter(recent).order_by(F("ended_at").asc(nulls_last=True), "created_at")
    had_slot = Exists(Lease.objects.filter(run=OuterRef("pk"), granted_at__isnull=False))
    labels: dict[str, KnownLabel] = {}
    for key, branch, commit, had in runs.values_list("pk", "branch", "commit_sha", had_slot):
        label = build_label(branch, commit=commit, run_id=str(key))
        before = labels.get(label)
        labels[label] = KnownLabel(str(key), had or (before is not None and before.has_had_slot))
    return labels
