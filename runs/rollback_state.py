"""Whether production was rolled back and is behind the target branch, and what that stops."""

from dataclasses import dataclass

from django.db import transaction

from core.clock import ClockTimestamp
from host.config import Config
from host.errors import Refused
from host.operator_settings import run_time
from releases.deployments.rollback_plan import list_last_rollbacks
from releases.models import Deployment, Release
from runs import freezes
from runs.engine.events import WORKER, record_event
from runs.models import Freeze
from runs.repository import find_preview_base, open_repository


@dataclass(frozen=True)
class RollbackState:
    """The rollback that production runs with, the newest release that was left, what is not live.

    `commit_count`: how many commits of the target branch are not live; None if git does not know.
    """

    deployment: Deployment
    left_release: Release | None
    commit_count: int | None

    @property
    def release(self) -> Release:
        """The release that the rollback went to."""
        return self.deployment.release

    def describe(self, target: str) -> str:
        """Return what the rollback went to and why, and what is not live.

        It is stored, as a freeze's reason, so it holds while the rollback runs and afterwards.
        """
        # The reason is a person's: with or without its full stop, another sentence follows.
        reason = self.deployment.reason.rstrip(". \n")
        rollback = f"Rollback of production to {self.release}{f': {reason}' if reason else ''}."
        return f"{rollback}\n{self.describe_missing(target)}"

    def describe_missing(self, target: str) -> str:
        """Return how many commits of the target branch are not live, as a sentence."""
        return describe_missing(self.commit_count, target)


def describe_missing(count: int | None, target: str) -> str:
    """Return how many commits of the target branch are not live, as a sentence."""
    if count is None:
        return f"It is not known how many commits of {target} are not live."
    if count == 1:
        return f"1 commit of {target} is not live."
    return f"{count or 'All'} commits of {target} are {'not ' if count else ''}live."


def read_rollback_state(config: Config) -> RollbackState | None:
    """Return it, also while the rollback runs; None if production is not rolled back.

    One query; git is asked only after a rollback.
    """
    newest = list_last_rollbacks()
    if not newest:
        return None
    count = count_missing_commits(config, newest[0].release.commit_sha)
    if count == 0:
        return None
    left = [one.previous for one in newest if one.previous is not None]
    return RollbackState(newest[0], max(left, key=lambda one: one.created_at, default=None), count)


def count_missing_commits(config: Config, commit: str) -> int | None:
    """Return how many commits of the target branch a release of `commit` lacks. Runs git.

    None if git does not know.
    """
    try:
        repo = open_repository(config)
        return repo.count_commits(commit, find_preview_base(repo, config.target_branch))
    except Refused:  # the repository lacks the commit, as after a restored backup
        return None


def sync_rollback_freeze(config: Config) -> bool:
    """Freeze shipping after a rollback, and lift that freeze once production is not behind it.

    A freeze that a person lifted does not return. Returns whether one was lifted here. Runs git.
    """
    freezes_now = run_time.read_boolean(config, run_time.FREEZE_AFTER_ROLLBACK)
    state = read_rollback_state(config) if freezes_now else None
    number = state.deployment.pk if state else None
    with transaction.atomic():
        over = Freeze.objects.filter(lifted_at=None, rollback__isnull=False).exclude(
            rollback_id=number
        )
        is_lifted = freezes.lift_freezes(
            over, actor=WORKER, reason="production is not rolled back any more"
        )
        if is_lifted:
            record_event("unfrozen", "production is not rolled back any more", actor=WORKER)
        if state is not None:
            _freeze_for_rollback(state, config.target_branch)
    return bool(is_lifted)


def _freeze_for_rollback(state: RollbackState, target: str) -> None:
    reason = state.describe(target)
    _, is_new = Freeze.objects.get_or_create(
        rollback=state.deployment,
        defaults={
            "actor": state.deployment.actor,
            "reason": reason,
            "since": ClockTimestamp(),
        },
    )
    if is_new:
        record_event("frozen", f"shipping is frozen: {reason}", actor=state.deployment.actor)
