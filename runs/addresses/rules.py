"""Decisions about host names: values in, values out."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from runs.rules import FINAL, Status

LABEL = re.compile(r"([a-z0-9-]{1,63})\.preview\.(.+)")
PULL_REQUEST = re.compile(r"pr-([1-9][0-9]{0,8})")
REFRESH_SECONDS = 5
# After its run's end a name gets a certificate for as long, and says what happened.
ENDED_DAYS = 30
# New names that get certificates: an authority such as Let's Encrypt issues 50 a week for a domain.
NAMES_PER_DAY = 30

# What happened to the run of a name that no slot has, for a reader without an account too.
SENTENCES = {
    Status.QUEUED: "Its run waits for a slot",
    Status.HOLDING: "A reservation holds its slot, and no preview is prepared",
    Status.PREPARING: "Its run is being prepared",
    Status.MERGED: "Its run was merged: production has the change",
    Status.REJECTED: "Its run was rejected",
    Status.CANCELED: "Its run was canceled",
    Status.EXPIRED: "Its run has expired",
    Status.FAILED: "Its run has failed",
}
BETWEEN = "Its run has no slot at this moment"


@dataclass(frozen=True)
class Explanation:
    """Why a name shows no preview. `is_waiting`: the page loads again by itself."""

    status: int
    detail: str
    is_waiting: bool = False


def find_label(host: str, domain: str) -> str | None:
    """Return the label in a preview's host name, with or without a port; None for any other."""
    match = LABEL.fullmatch(host.lower().partition(":")[0].rstrip("."))
    return match[1] if match and match[2] in (domain.lower(), "localhost") else None


def find_public_label(host: str, domain: str) -> str | None:
    """As `find_label`, of names below the domain only: no authority knows those of this host."""
    is_below = host.lower().rstrip(".").endswith(f".preview.{domain.lower()}")
    return find_label(host, domain) if is_below else None


def is_recent(ended_at: datetime | None, at: datetime) -> bool:
    """Return whether a run is open at `at`, or ended in the ENDED_DAYS before."""
    return ended_at is None or ended_at > at - timedelta(days=ENDED_DAYS)


def has_budget(added: int, limit: int) -> bool:
    """Return whether one more new name may have a certificate, after `added` in the last day."""
    return added < limit


def find_number(label: str) -> int | None:
    """Return the number of the pull request that the label names; None for any other label."""
    match = PULL_REQUEST.fullmatch(label)
    return int(match[1]) if match else None


def is_fixed_name(host: str, domain: str, slots: Collection[int]) -> bool:
    """Return whether it is a name of production, of the control plane, or of one of the slots."""
    names = ["app", "api", *(f"preview{number}" for number in slots)]
    return host.lower() in {f"{name}.{domain.lower()}" for name in names}


def explain(status: Status, *, failure_code: str, position: int | None) -> Explanation:
    """Return what the name of that run's branch says while no slot has it."""
    detail = SENTENCES.get(status, BETWEEN)
    if status == Status.QUEUED and position is not None:
        detail += f", at position {position} of the queue"
    if status == Status.FAILED:
        detail += f": {failure_code}"
    is_waiting = status not in FINAL
    return Explanation(503 if is_waiting else 404, f"{detail}.", is_waiting=is_waiting)
