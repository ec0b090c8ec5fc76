"""Freezes: shipping is stopped for all, by a person or because a deployment failed.

Some runs ship although a deployment failed: a retry of the failed run, and a run that restores the
files from before it. When such a run is merged, the freeze is lifted (docs/decisions/0009). So it
is after a rollback, for a run with the files of the release that is live (`runs.rollback_state`).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction

from core.clock import ClockTimestamp, format_minute, get_database_time
from host.config import Config
from host.errors import Refused
from releases.models import Deployment
from runs.engine.events import record_event
from runs.models import Freeze, Run
from runs.repository import open_repository
from runs.rules import require_reason

# A freeze may end within a year from now; one without an end may last longer.
MAX_FREEZE_HOURS = 366 * 24.0


def list_active_freezes() -> list[Freeze]:
    """Return the freezes that stop shipping now, the newest first."""
    at = get_database_time()
    freezes = Freeze.objects.filter(lifted_at=None).select_related(
        "run", "rollback__release", "rollback__previous"
    )
    return [freeze for freeze in freezes if freeze.until is None or freeze.until > at]


def describe_freeze(freeze: Freeze) -> str:
    """Return a freeze as a sentence: by whom, since and until when, why."""
    until = f" until {format_minute(freeze.until)}" if freeze.until else ""
    since = format_minute(freeze.since)
    return f"Shipping is frozen by {freeze.actor} since {since}{until}: {freeze.reason}"


def can_ship_despite(config: Config, run: Run, freeze: Freeze) -> bool:
    """Return whether the run may ship during that freeze, because it repairs the cause of it.

    Runs git: do not call it while the grant lock is held.
    """
    if freeze.rollback is not None:
        return _restores_release(config, run, freeze.rollback)
    failed = freeze.run
    if failed is None:
        return False
    return failed in run.list_ancestors() or _restores_files(config, run, failed)


def list_repaired_freezes(config: Config, run: Run) -> list[Freeze]:
    """Return the active freezes whose cause the run repairs. Runs git as `can_ship_despite`."""
    return [freeze for freeze in list_active_freezes() if can_ship_despite(config, run, freeze)]


def _restores_release(config: Config, run: Run, rollback: Deployment) -> bool:
    """Return whether the run takes back what the rollback left, with the release's files."""
    repo, left = open_repository(config), rollback.previous
    # A branch without the commit may have the old files too; to merge it would undo nothing.
    if left is None or not repo.filter_contained(run.commit_sha, [left.commit_sha]):
        return False
    commit = rollback.release.commit_sha
    return repo.has_commit(commit) and repo.get_tree_id(run.commit_sha) == repo.get_tree_id(commit)


def _restores_files(config: Config, run: Run, failed: Run) -> bool:
    """Return whether the run's files are exactly those from before the failed run was merged.

    If the failed run was itself a retry of failed runs, those from before the first of them.
    False if the repository has lost one of the commits.
    """
    repo, merged = open_repository(config), failed.candidate_sha
    # A branch without the merge may have the old files too; to merge it would undo nothing.
    if not merged or not repo.filter_contained(run.commit_sha, [merged]):
        return False
    base = failed.list_merge_chain()[-1].base_sha
    # By the tree and not by the message: a revert may have any message (docs/decisions/0009).
    return repo.get_tree_id(run.commit_sha) == repo.get_tree_id(base)


def freeze_shipping(*, actor: str, reason: str, until: datetime | None = None) -> Freeze:
    """Stop shipping until then; None: until a person lifts the freeze.

    Raises Refused `reason_required`, `until_is_over`, `until_too_far` (400).
    """
    require_reason(reason, "Say why shipping is frozen.")
    with transaction.atomic():
        if until is not None:
            _check_hours((until - get_database_time()) / timedelta(hours=1))
        record_event("frozen", reason, actor=actor)
        return Freeze.objects.create(
            actor=actor, reason=reason, since=ClockTimestamp(), until=until
        )


def compute_freeze_end(hours: float) -> datetime:
    """Return when a freeze of `hours` from now ends. Raises Refused as `freeze_shipping` does."""
    _check_hours(hours)
    return get_database_time() + timedelta(hours=hours)


def _check_hours(hours: float) -> None:
    if hours <= 0:
        raise Refused("until_is_over", "The end of the freeze has passed.", status=400)
    if not hours <= MAX_FREEZE_HOURS:  # also rejects NaN
        detail = "A freeze ends within a year; without an end it lasts until a person lifts it."
        raise Refused("until_too_far", detail, status=400)


def freeze_for_failed_run(run: Run, *, actor: str, reason: str) -> None:
    """Stop shipping until the cause of the run's failure is repaired, or a person lifts it."""
    Freeze.objects.create(run=run, actor=actor, reason=reason, since=ClockTimestamp())
    record_event("frozen", f"shipping is frozen: {reason}", actor=actor, run=run)


def lift_repaired_freezes(run: Run, freezes: Iterable[Freeze], actor: str) -> None:
    """Lift the freezes whose cause this run repaired, now that it is merged."""
    if lift_freezes(freezes, actor=actor, reason=f"{run} was shipped"):
        text = "shipping goes on: this run repaired the cause of the freeze"
        record_event("unfrozen", text, actor=actor, run=run)


def lift_freezes(freezes: Iterable[Freeze], *, actor: str, reason: str) -> int:
    """Lift those of the freezes that are not lifted yet; returns how many that were."""
    active = Freeze.objects.filter(pk__in=[freeze.pk for freeze in freezes], lifted_at=None)
    # One that a person lifted meanwhile keeps that person's name and reason.
    return active.update(lifted_at=ClockTimestamp(), lifted_by=actor, lift_reason=reason)
