"""Which labels exist: those of open runs, and of runs that ended not long ago."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from threading import Lock

from django.db.models import F, Q

from core.clock import ClockTimestamp
from runs.labels import build_label
from runs.models import Run

# After its run's end a name gets a certificate for as long, and says what happened.
ENDED_DAYS = 30
# Strangers ask for as many names as they like: the runs are read at most this often.
READ_SECONDS = 2.0


class KnownLabels:
    """The labels, each with the id of the run that it is of now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._labels: Mapping[str, str] = {}
        self._read_at = float("-inf")

    def has(self, label: str) -> bool:
        """Return whether a run has the label."""
        return label in self._read()

    def find_run(self, label: str) -> Run | None:
        """Return the run of that label: an open one, else the one that ended last."""
        key = self._read().get(label)
        return Run.objects.filter(pk=key).first() if key is not None else None

    def _read(self) -> Mapping[str, str]:
        with self._lock:
            if self._clock() - self._read_at >= READ_SECONDS:
                self._labels, self._read_at = read_labels(), self._clock()
            return self._labels


def read_labels() -> dict[str, str]:
    """Return each label with the id of its run."""
    recent = Q(ended_at=None) | Q(ended_at__gt=ClockTimestamp() - timedelta(days=ENDED_DAYS))
    # The run that counts comes last of those with the same label.
    runs = Run.objects.filter(recent).order_by(F("ended_at").asc(nulls_last=True), "created_at")
    return {
        build_label(branch, commit=commit, run_id=str(key)): str(key)
        for key, branch, commit in runs.values_list("pk", "branch", "commit_sha")
    }
