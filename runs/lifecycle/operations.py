"""What happens next to a run: what people ask for, and the bell that carries it on."""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from core.claims import Claim, ClaimLost, owner_name
from core.clock import ClockTimestamp, database_time
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import validate_ref, validate_sha
from host.units import jobs
from runs import merge_queue
from runs.engine import journal
from runs.engine.enqueue import ring
from runs.engine.journal import Action, record
from runs.engine.step_context import StepFailed, Stopped
from runs.leasing import leases
from runs.lifecycle import branch_watch, finish
from runs.models import Approval, Run
from runs.pipelines import deployment, guidance, merge_gate, preview, shipping
from runs.repository import repository
from runs.rules import AT_WORK, SHIPPING, Status
from slots.models import Lease

LEFTOVER_FENCES = 5
RING_AGAIN_SECONDS = 5
ONLY_OPERATORS = "Only an operator accepts a branch's own checks in place of the target branch's."
ONLY_OPERATORS_RANK = "Only an operator gives a run a priority in the line."


def create_run(
    *,
    title: str,
    actor: str,
    branch: str = "",
    commit: str = "",
    prepare: bool = True,
    priority: int = 0,
    parent: Run | None = None,
) -> Run:
    """Make a run of a branch or a commit and put it in line; it may be granted a slot at once.

    Without `prepare` it only holds a slot, and git is not asked. A higher `priority`, an operator's
    to say, is before all lower ones in the line. Raises Refused: what `validate_ref` and
    `validate_sha` say, `source_required`, `branch_is_target`, `branch_unknown` (404), `sha_unknown`
    (404), and what the line says (`queue_full`, 429).
    """
    config = settings.OROBOROS
    sha = _resolve(config, branch, commit) if prepare else _named(config, branch, commit)
    with leases.entered():
        run = Run.objects.create(
            title=title,
            branch=branch,
            commit_sha=sha,
            prepare=prepare,
            priority=priority,
            parent=parent,
            created_by=actor,
            created_at=ClockTimestamp(),
        )
        run.refresh_from_db()
        rank = f", priority {priority}" if priority else ""
        text = f"{title}: {branch or sha[:12] or 'a slot'}{rank}"
        record("created", text, actor=actor, run=run)
        if prepare:
            leases.ask(run, actor=actor)
    run.refresh_from_db()
    return run


def _named(config: Config, branch: str, commit: str) -> str:
    if branch and validate_ref(branch) == config.target_branch:
        raise Refused("branch_is_target", f"{branch} is what branches are shipped to.")
    return validate_sha(commit) if commit else ""


def _resolve(config: Config, branch: str, commit: str) -> str:
    sha = _named(config, branch, commit)
    if not branch and not commit:
        raise Refused("source_required", "Name a branch or a commit.", status=400)
    repo = repository(config)
    if sha and repo.has(sha):
        return sha
    repo.fetch(config.git_remote_url)
    if sha:
        return repo.known(sha)
    found = repo.branch_sha(branch)
    if found is None:
        raise Refused("branch_unknown", f"The git remote has no branch {branch}.", status=404)
    return found


def approve(
    run: Run, *, actor: str, commit_sha: str = "", reason: str = "", accept_checks: bool = False
) -> None:
    """Approve the commit that was looked at, and ring; shipping itself happens later.

    The candidate step fetches the branch, so a commit that came meanwhile still voids it. With
    `accept_checks`, an operator's to say, the branch's checks run in place of the target branch's.
    Raises Refused `not_ready`, `already_stopping`, `commit_moved`, `lease_fenced`.
    """
    with leases.entered():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.status != Status.PREVIEW_READY:
            raise Refused(
                "not_ready", f"The run is {run.status}; only a ready preview is approved."
            )
        _refuse_stopping(run)
        if commit_sha and validate_sha(commit_sha) != run.commit_sha:
            raise Refused(
                "commit_moved",
                f"The preview shows {run.commit_sha}; look at it again, then approve that commit.",
            )
        Approval.objects.create(
            run=run,
            commit_sha=run.commit_sha,
            verdict=Approval.APPROVED,
            actor=actor,
            reason=reason,
            accepts_checks=accept_checks,
            at=ClockTimestamp(),
        )
        run.move(Status.APPROVED, approved_at=ClockTimestamp(), next_action="")
        leases.pin(run)
        alone = " with its own checks only" if accept_checks else ""
        text = f"approved {run.commit_sha[:12]}{alone}" + (f": {reason}" if reason else "")
        record("approved", text, actor=actor, run=run)
        ring(run.pk)


def reject(run: Run, *, actor: str, reason: str) -> None:
    """Say no to the commit that was looked at. Raises Refused `reason_required`, as `stop`."""
    if not reason.strip():
        raise Refused("reason_required", "Say why, so that the author can mend it.", status=400)
    with leases.entered():
        lease = _stop(run, Status.REJECTED, actor, reason)
        Approval.objects.create(
            run=run,
            commit_sha=run.commit_sha,
            verdict=Approval.REJECTED,
            actor=actor,
            reason=reason,
            at=ClockTimestamp(),
        )
    finish.clear(settings.OROBOROS, run, lease)


def cancel(run: Run, *, actor: str, reason: str = "") -> None:
    """End the run: its processes die first.

    Raises Refused `already_ended`, `already_stopping`, `too_late` once the merge has begun.
    """
    with leases.entered():
        lease = _stop(run, Status.CANCELED, actor, reason)
    finish.clear(settings.OROBOROS, run, lease)


def _stop(run: Run, to: Status, actor: str, reason: str) -> Lease | None:
    """Move the run to `to`, or ask the process that works on it to stop and make that move.

    Returns the lease that is to be cleaned, if the move was made here.
    """
    run = Run.objects.select_for_update().get(pk=run.pk)
    at = database_time()
    if run.is_final:
        raise Refused("already_ended", f"The run is {run.status} already.")
    if finish.is_past_stopping(run):
        raise Refused("too_late", "The merge has begun; let it end, then roll back the release.")
    _refuse_stopping(run)
    record("stop_asked", f"{to}: {reason}" if reason else str(to), actor=actor, run=run)
    if run.is_claimed(at):
        Run.objects.filter(pk=run.pk).update(stop_status=to, stop_actor=actor, stop_reason=reason)
        return None
    return finish.move_to_end(run, None, to, code="", detail=reason, actor=actor)


def _refuse_stopping(run: Run) -> None:
    if run.stop_status:
        raise Refused("already_stopping", f"The run is being ended already ({run.stop_status}).")


def retry(run: Run, *, actor: str) -> Run:
    """Make a child run of the same branch (its newest commit), or of the commit if that is gone.

    Raises Refused `not_ended`, and as `create_run`.
    """
    if not run.is_final:
        raise Refused("not_ended", f"The run is {run.status}; only an ended run is retried.")
    try:
        return _child(run, actor, branch=run.branch, commit="" if run.branch else run.commit_sha)
    except Refused as refused:
        if refused.code != "branch_unknown":
            raise
        return _child(run, actor, branch="", commit=run.commit_sha)


def _child(run: Run, actor: str, *, branch: str, commit: str) -> Run:
    return create_run(
        title=run.title,
        branch=branch,
        commit=commit,
        prepare=run.prepare,
        actor=actor,
        parent=run,
    )


def keep(run: Run, *, actor: str, seconds: int) -> None:
    """Keep the preview for `seconds` from now, 72 h at most. Raises Refused as line.keep."""
    leases.keep(run, seconds=seconds, actor=actor)


def pipeline(run: Run) -> Sequence[Action]:
    """Return what is to be done for the run now; nothing while it waits for somebody."""
    if run.status == Status.PREPARING:
        return preview.ACTIONS
    if run.status in AT_WORK or (run.status == Status.APPROVED and merge_queue.has_its_turn(run)):
        return shipping.ACTIONS
    return ()


def carry_granted() -> None:
    """Carry the first run on that was granted a slot and has nobody who works on it."""
    granted = Run.objects.filter(status=Status.PREPARING).exclude(
        claim_expires_at__gt=ClockTimestamp()
    )
    for run_id in granted.order_by("created_at").values_list("pk", flat=True):
        if carry(run_id):
            return


def carry(run_id: uuid.UUID) -> bool:
    """Carry a run as far as it goes; returns whether it was ours to carry.

    A second bell finds nothing to claim.
    """
    run = Run.objects.filter(pk=run_id).first()
    if run is None or not (run.stop_status or pipeline(run)):
        return False
    claim = Run.objects.claim(run_id, owner_name())
    if claim is None:
        return False
    with journal.kept(claim), suppress(ClaimLost):
        run.refresh_from_db()
        _kill_leftovers(claim)
        _work(settings.OROBOROS, run, claim)
    return True


def _work(config: Config, run: Run, claim: Claim) -> None:
    try:
        _go_on(config, run, claim)
    except StepFailed as failed:
        _fail(config, run, claim, failed)
    except shipping.NewCommit as moved:
        if branch_watch.renew_commit(run, moved.sha, claim):
            merge_gate.close(config, run)
            run.refresh_from_db()
            _work(config, run, claim)
    except Stopped:
        run.refresh_from_db()
        if run.stop_status and not claim.is_lost and not finish.is_past_stopping(run):
            to = Status(run.stop_status)
            finish.end(config, run, claim, to, run.stop_code, run.stop_reason, actor=run.stop_actor)
    else:
        if run.status == Status.DEPLOYING:
            finish.end(config, run, claim, Status.MERGED)


def _go_on(config: Config, run: Run, claim: Claim) -> None:
    """Carry the run's pipeline on. Raises StepFailed, Stopped, ClaimLost."""
    if run.stop_status and not finish.is_past_stopping(run):
        raise Stopped
    if run.attempts > journal.ATTEMPTS and not deployment.is_live(run):
        _keeps_dying(config, run, claim)
    if run.status == Status.APPROVED and not merge_queue.take(run, claim):
        return
    journal.carry(config, run, claim, pipeline(run))


def _keeps_dying(config: Config, run: Run, claim: Claim) -> None:
    """Raises StepFailed STEP_KEPT_DYING; what was live is made live again before."""
    lines: list[str] = []
    if run.status == Status.DEPLOYING and run.attempts <= 2 * journal.ATTEMPTS:
        lines = deployment.undo_deploy(config, run, lambda: claim.is_lost)
    step = run.steps.filter(generation=run.generation).last()
    where = f" at the step {step.name}" if step else ""
    raise StepFailed(
        "STEP_KEPT_DYING",
        f"The worker died {run.attempts - 1} times{where}.",
        next_action="\n".join(lines),
    )


def _fail(config: Config, run: Run, claim: Claim, failed: StepFailed) -> None:
    """End the run as failed; where its commit stays in the target branch, shipping is frozen."""
    run.refresh_from_db()
    is_diverged = failed.code == "MAIN_DIVERGED"
    stays = run.status == Status.DEPLOYING or (
        run.status == Status.MERGING and not is_diverged and not shipping.leave_main(config, run)
    )
    ways = failed.next_action
    if stays:
        ways = "\n".join(guidance.after_deploy(config, run, ways.splitlines()))
    finish.end(
        config, run, claim, Status.FAILED, failed.code, failed.detail, ways,
        freezes=stays or is_diverged,
    )  # fmt: skip


def _kill_leftovers(claim: Claim) -> None:
    """End what an earlier claim's process left running when it was killed."""
    for fence in range(max(1, claim.fence - LEFTOVER_FENCES), claim.fence):
        jobs.kill_marked(f"{claim.pk}:{fence}")


def sweep() -> int:
    """Ring for every run that has work and nobody at it. Returns how many were rung.

    Once in RING_AGAIN_SECONDS each: a bell may still be in the queue.
    """
    at = database_time()
    idle = Q(claim_expires_at=None) | Q(claim_expires_at__lt=at)
    quiet = Q(rung_at=None) | Q(rung_at__lt=at - timedelta(seconds=RING_AGAIN_SECONDS))
    wanted = Q(status=Status.PREPARING) | Q(status__in=SHIPPING) | ~Q(stop_status="")
    runs = Run.objects.unfinished().filter(idle & quiet & wanted)
    rung = [run.pk for run in runs if run.stop_status or pipeline(run)]
    with transaction.atomic():
        Run.objects.filter(pk__in=rung).update(rung_at=at)
        for run_id in rung:
            ring(run_id)
    return len(rung)
