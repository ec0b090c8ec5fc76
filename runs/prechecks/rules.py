"""When a precheck begins, gives way, ends and is stale: decisions without I/O."""

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import TextChoices

from runs.rules import MERGING_OR_DEPLOYING, Status

SHIPS = "A run ships; the check begins again when it has ended."


class PrecheckStatus(TextChoices):
    """The state of a precheck."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"
    CANCELED = "canceled"


OPEN = (PrecheckStatus.WAITING, PrecheckStatus.RUNNING)


class PrecheckMode(TextChoices):
    """Who requests prechecks (MERGE_GATE_PRECHECK): people, or each ready run by itself."""

    MANUAL = "manual"
    AUTO = "auto"


@dataclass(frozen=True)
class Subject:
    """What a run offers for approval now: its state, commit and generation."""

    status: str
    commit: str
    generation: int
    is_stopping: bool = False


@dataclass(frozen=True)
class Outcome:
    """How far the newest precheck of a run is, and of which commits: the run's, the target's."""

    status: str
    commit: str
    base: str


def find_end_reason(subject: Subject, *, commit: str, generation: int) -> str:
    """Return why the precheck of that commit is of no use any more; "" while it is."""
    if subject.is_stopping:
        return "The run is being ended."
    if subject.commit != commit or subject.generation != generation:
        return "The run has a new commit, or its preview was prepared again."
    if subject.status == Status.PREVIEW_READY:
        return ""
    if subject.status in (Status.APPROVED, *MERGING_OR_DEPLOYING):
        return "The run was approved: the merge gate verifies what ships."
    return f"The run is {subject.status}."


def find_wait_reason(shipping: Collection[str], shortage: str, *, is_frozen: bool) -> str:
    """Return why no precheck runs now; "" if one may.

    `shipping`: the states of the runs that ship or wait for it; while shipping is frozen, those
    that wait hold nothing up. `shortage`: too little memory or disk is free.
    """
    is_merging = any(status in MERGING_OR_DEPLOYING for status in shipping)
    if is_merging or (shipping and not is_frozen):
        return SHIPS
    return shortage


def is_stale(outcome: Outcome, *, commit: str, base: str) -> bool:
    """Return whether the branch or the target branch has moved since. A `base` of "": not known."""
    has_moved = bool(base and outcome.base) and outcome.base != base
    return outcome.commit != commit or has_moved


def is_due(outcome: Outcome | None, *, commit: str, base: str) -> bool:
    """Return whether an automatic precheck of the commit on that base is to be requested.

    One that failed is not repeated on the same commits: it would fail again.
    """
    if outcome is None or outcome.status == PrecheckStatus.CANCELED:
        return True
    return outcome.status not in OPEN and is_stale(outcome, commit=commit, base=base)
