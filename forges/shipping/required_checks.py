"""Letting approved runs ship once their external checks have succeeded (SHIP_REQUIRED_CHECKS)."""

from forges.adapters.forge import Forge
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import require_forge_settings
from forges.rules import explain_missing_checks
from host.config import Config
from runs import landing, merge_queue
from runs.models import Run
from runs.models.run import RunQuerySet
from runs.rules import Status, explain_awaited_checks

SETTING = "SHIP_REQUIRED_CHECKS"


def list_waiting() -> RunQuerySet:
    """Return the approved runs that wait for checks."""
    return Run.objects.filter(status=Status.APPROVED).exclude(awaited_checks="")


def check_waiting(config: Config, sha: str = "") -> int:
    """Ask the forge for the checks of the runs that wait, or of those of one commit.

    Returns how many may ship now. Raises Refused `forge_not_set`, `setting_invalid`.
    """
    waiting = list_waiting().filter(commit_sha=sha) if sha else list_waiting()
    if not waiting.exists():
        return 0
    required = landing.read_required_checks(config)
    forge = create_forge(require_forge_settings(config)) if required else None
    lifted = [_check(forge, required, run) for run in waiting]
    if any(lifted):
        merge_queue.enqueue_next(config)
    return sum(lifted)


def _check(forge: Forge | None, required: tuple[str, ...], run: Run) -> bool:
    """Store what the run waits for, and return whether that is nothing."""
    try:
        checks = forge.list_checks(run.commit_sha) if forge is not None else {}
        reason = explain_missing_checks(SETTING, required, checks)
    except ForgeFailed as failed:
        reason = f"{explain_awaited_checks(SETTING)} {failed.detail}"
    if reason == run.awaited_checks:
        return False
    # Of this commit only: the run may have got another one, and another approval.
    same = list_waiting().filter(pk=run.pk, commit_sha=run.commit_sha)
    return same.update(awaited_checks=reason) == 1 and not reason
