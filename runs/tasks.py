"""What happens next to a run: what people ask for, and the bell that carries it on."""

import uuid
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from oroboros.clock import ClockTimestamp, database_time
from oroboros.errors import Refused
from oroboros.lib import jobs
from oroboros.lib.config import Config
from oroboros.lib.git import validate_ref, validate_sha
from runs import gate, journal, line, preview, rules, shipping
from runs.bell import ring
from runs.journal import Action, StepFailed, Stopped, record
from runs.models import Approval, Claim, Freeze, Run, Step
from runs.models.run import ClaimLost
from runs.repository import repository
from runs.rules import FAILURES, SHIPPING, Status
from slots.models import Lease

LEFTOVER_FENCES = 5


def create_run(
    *,
    title: str,
    actor: str,
    branch: str = "",
    commit: str = "",
    prepare: bool = True,
    parent: Run | None = None,
) -> Run:
    """Make a run of a branch or a commit and put it in line; it may be granted a slot at once.

    Without `prepare` it only holds a slot, and git is not asked. Raises Refused: what
    `validate_ref` and `validate_sha` say, `source_required`, `branch_is_target`,
    `branch_unknown` (404), `sha_unknown` (404), and what the line says (`queue_full`, 429).
    """
    config = settings.OROBOROS
    sha = _resolve(config, branch, commit) if prepare else _named(config, branch, commit)
    with line.entered():
        run = Run.objects.create(
            title=title,
            branch=branch,
            commit_sha=sha,
            prepare=prepare,
            parent=parent,
            created_by=actor,
            created_at=ClockTimestamp(),
        )
        run.refresh_from_db()
        record("created", f"{title}: {branch or sha[:12] or 'a slot'}", actor=actor, run=run)
        if prepare:
            line.ask(run, actor=actor)
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


def approve(run: Run, *, actor: str, commit_sha: str = "", reason: str = "") -> None:
    """Approve the commit that was looked at, and ring; shipping itself happens later.

    The candidate step fetches the branch, so a commit that came meanwhile still voids it.
    Raises Refused `not_ready`, `commit_moved`.
    """
    with transaction.atomic():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.status != Status.PREVIEW_READY:
            raise Refused(
                "not_ready", f"The run is {run.status}; only a ready preview is approved."
            )
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
            at=ClockTimestamp(),
        )
        run.move(Status.APPROVED, approved_at=ClockTimestamp(), next_action="")
        line.pin(run)
        text = f"approved {run.commit_sha[:12]}" + (f": {reason}" if reason else "")
        record("approved", text, actor=actor, run=run)
        ring(run.pk)


def reject(run: Run, *, actor: str, reason: str) -> None:
    """Say no to the commit that was looked at. Raises Refused `reason_required`, as `stop`."""
    if not reason.strip():
        raise Refused("reason_required", "Say why, so that the author can mend it.", status=400)
    with line.entered():
        lease = stop(run, to=Status.REJECTED, actor=actor, reason=reason)
        Approval.objects.create(
            run=run,
            commit_sha=run.commit_sha,
            verdict=Approval.REJECTED,
            actor=actor,
            reason=reason,
            at=ClockTimestamp(),
        )
    line.clean_and_finish(settings.OROBOROS, lease)


def cancel(run: Run, *, actor: str, reason: str = "") -> None:
    """End the run: its processes die first. Raises Refused as `stop`."""
    lease = stop(run, to=Status.CANCELED, actor=actor, reason=reason)
    line.clean_and_finish(settings.OROBOROS, lease)


def stop(run: Run, *, to: Status, actor: str, reason: str) -> Lease | None:
    """Move the run to `to`, or ask the process that works on it to stop and make that move.

    Returns the lease that is to be cleaned, if the move was made here. Raises Refused
    `already_ended`, `too_late` once the merge has begun.
    """
    with line.entered():
        return _stop(run, to, actor, reason)


def _stop(run: Run, to: Status, actor: str, reason: str) -> Lease | None:
    run = Run.objects.select_for_update().get(pk=run.pk)
    at = database_time()
    if run.is_final:
        raise Refused("already_ended", f"The run is {run.status} already.")
    if is_past_stopping(run):
        raise Refused("too_late", "The merge has begun; let it end, then roll back the release.")
    record("stop_asked", f"{to}: {reason}" if reason else str(to), actor=actor, run=run)
    if run.is_claimed(at):
        Run.objects.filter(pk=run.pk).update(stop_status=to, stop_actor=actor, stop_reason=reason)
        return None
    return _ended(run, None, to, code="", detail=reason, actor=actor)


def is_past_stopping(run: Run) -> bool:
    """Whether the run has begun what cannot be taken back by stopping it."""
    names = [action.name for action in shipping.ACTIONS if action.is_past_stopping]
    return (
        run.status in SHIPPING
        and Step.objects.filter(run=run, generation=run.generation, name__in=names)
        .exclude(status=rules.StepStatus.STOPPED)
        .exists()
    )


def retry(run: Run, *, actor: str) -> Run:
    """Make a child run of the same branch (its newest commit) or commit.

    Raises Refused `not_ended`, and as `create_run`.
    """
    if not run.is_final:
        raise Refused("not_ended", f"The run is {run.status}; only an ended run is retried.")
    commit = "" if run.branch else run.commit_sha
    return create_run(
        title=run.title,
        branch=run.branch,
        commit=commit,
        prepare=run.prepare,
        actor=actor,
        parent=run,
    )


def keep(run: Run, *, actor: str, seconds: int) -> None:
    """Keep the preview for `seconds` from now, 72 h at most. Raises Refused as line.keep."""
    line.keep(run, seconds=seconds, actor=actor)


def freeze(*, actor: str, reason: str, until: datetime | None = None) -> Freeze:
    """Stop shipping until then, or until somebody lifts it. Raises Refused `reason_required`."""
    if not reason.strip():
        raise Refused("reason_required", "Say why shipping stands still.", status=400)
    with transaction.atomic():
        record("frozen", reason, actor=actor)
        return Freeze.objects.create(
            actor=actor, reason=reason, since=ClockTimestamp(), until=until
        )


def unfreeze(*, actor: str, reason: str) -> int:
    """Lift every standing freeze and ring the next run. Returns how many were lifted."""
    if not reason.strip():
        raise Refused("reason_required", "Say why shipping may go on.", status=400)
    with transaction.atomic():
        lifted = Freeze.objects.filter(lifted_at=None).update(
            lifted_at=ClockTimestamp(), lifted_by=actor, lift_reason=reason
        )
        record("unfrozen", reason, actor=actor)
        ring_next()
    return lifted


def ring_next() -> None:
    """Ring for the run whose turn it is to ship."""
    first = next((run for run in shipping.in_order() if not run.is_claimed(database_time())), None)
    if first is not None:
        ring(first.pk)


def pipeline(run: Run) -> Sequence[Action]:
    """Return what is to be done for the run now; nothing while it waits for somebody."""
    if run.status == Status.PREPARING:
        return preview.ACTIONS
    if run.status in SHIPPING and shipping.has_its_turn(run):
        return shipping.ACTIONS
    return ()


def carry(run_id: uuid.UUID) -> None:
    """Carry a run as far as it goes. A second bell finds nothing to claim."""
    run = Run.objects.filter(pk=run_id).first()
    if run is None or not (run.stop_status or pipeline(run)):
        return
    claim = Run.objects.claim(run_id, journal.owner_name())
    if claim is None:
        return
    with journal.kept(claim):
        run.refresh_from_db()
        _kill_leftovers(claim)
        _work(settings.OROBOROS, run, claim)


def _work(config: Config, run: Run, claim: Claim) -> None:
    try:
        if run.stop_status:
            raise Stopped
        if run.attempts > journal.ATTEMPTS:
            raise StepFailed("STEP_KEPT_DYING", f"The worker died {journal.ATTEMPTS} times.")
        journal.carry(config, run, claim, pipeline(run))
    except StepFailed as failed:
        _end(config, run, claim, Status.FAILED, failed.code, failed.detail, failed.next_action)
    except shipping.NewCommit as moved:
        if renew_commit(run, moved.sha, claim):
            run.refresh_from_db()
            _work(config, run, claim)
    except Stopped:
        run.refresh_from_db()
        if run.stop_status and not claim.lost.is_set():
            to = Status(run.stop_status)
            _end(config, run, claim, to, run.stop_code, run.stop_reason, actor=run.stop_actor)
    except ClaimLost:
        return
    else:
        if run.status == Status.DEPLOYING:
            _end(config, run, claim, Status.MERGED)


def _end(
    config: Config,
    run: Run,
    claim: Claim,
    to: Status,
    code: str = "",
    detail: str = "",
    next_action: str = "",
    actor: str = journal.WORKER,
) -> None:
    if run.status in SHIPPING:
        gate.close(config, run)
    with line.entered():
        journal.claimed(run, claim)
        lease = _ended(
            run, claim, to, code=code, detail=detail, next_action=next_action, actor=actor
        )
    line.clean_and_finish(config, lease)
    ring_next()


def _ended(
    run: Run,
    claim: Claim | None,
    to: Status,
    *,
    code: str,
    detail: str,
    actor: str,
    next_action: str = "",
) -> Lease | None:
    """Move the run to its end, fence its lease, tell it; the lease is to be cleaned after."""
    remedy = next_action or (FAILURES[code].remedy if code else run.next_action)
    was = run.status
    run.move(to, claim=claim, failure_code=code, failure_detail=detail, next_action=remedy)
    if to == Status.FAILED and was == Status.DEPLOYING:
        Freeze.objects.create(run=run, actor=actor, reason=detail, since=ClockTimestamp())
    text = ": ".join(part for part in (str(to), code, detail) if part)
    record(to, text, actor=actor, run=run, next_action=remedy)
    return line.begin_ending(run, reason=code or str(to), actor=actor)


def _kill_leftovers(claim: Claim) -> None:
    """End what an earlier claim's process left running when it was killed."""
    for fence in range(max(1, claim.fence - LEFTOVER_FENCES), claim.fence):
        jobs.kill_marked(f"{claim.run_id}:{fence}")


def sweep() -> int:
    """Ring for every run that has work and nobody at it. Returns how many were rung."""
    at = database_time()
    idle = Q(claim_expires_at=None) | Q(claim_expires_at__lt=at)
    wanted = Q(status=Status.PREPARING) | Q(status__in=SHIPPING) | ~Q(stop_status="")
    rung = 0
    for run in Run.objects.unfinished().filter(idle & wanted):
        if run.stop_status or pipeline(run):
            ring(run.pk)
            rung += 1
    return rung


def watch_branches() -> list[Run]:
    """Fetch the remote; runs whose branch has a new commit are prepared anew and renewed."""
    config = settings.OROBOROS
    if not config.git_remote_url:
        return []
    repo = repository(config)
    repo.fetch(config.git_remote_url)
    heads = repo.branches()
    waiting = Run.objects.filter(
        prepare=True, status__in=(Status.QUEUED, Status.PREVIEW_READY, Status.APPROVED)
    ).exclude(branch="")
    moved = []
    for run in waiting:
        head = heads.get(run.branch)
        if head and head != run.commit_sha and renew_commit(run, head, None):
            moved.append(run)
    return moved


def renew_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    """Take the branch's new commit: void the approval, begin the preview anew, renew the lease.

    False, and nothing changed, while another process works on the run.
    """
    with line.entered():
        return _renew_commit(run, sha, claim)


def _renew_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    run = Run.objects.select_for_update().get(pk=run.pk)
    if claim is None and run.is_claimed(database_time()):
        return False
    if is_past_stopping(run) or run.is_final:
        return False
    Approval.objects.filter(run=run, verdict=Approval.APPROVED, voided_at=None).update(
        voided_at=ClockTimestamp(), void_reason=f"the branch has a new commit, {sha}"
    )
    fields = {"commit_sha": sha, "generation": run.generation + 1, "approved_at": None}
    if run.status == Status.QUEUED:
        Run.objects.filter(pk=run.pk).update(**fields)
    else:
        run.move(Status.PREPARING, claim=claim, next_action="", **fields)
        line.renew(run)
        line.unpin(run)
        ring(run.pk)
    record("new_commit", f"{run.branch} is at {sha[:12]} now", actor=journal.WORKER, run=run)
    return True
