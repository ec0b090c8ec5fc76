"""What people request of runs: create, approve, reject, cancel, retry, keep."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from django.conf import settings

from core.clock import ClockTimestamp, get_database_time
from host.config import Config
from host.errors import Refused
from host.git.validation import validate_ref, validate_sha
from runs import landing
from runs.approvals.rules import ApprovalState, Approver, check_ticked
from runs.approvals.state import build_approver, read_state
from runs.engine.enqueue import enqueue
from runs.engine.events import record_event
from runs.leasing import leases
from runs.leasing.grants import grant_lock
from runs.lifecycle import branch_watch, finish
from runs.models import Approval, Run
from runs.pipelines import merge_forecast
from runs.repository import open_repository
from runs.rules import MERGING_OR_DEPLOYING, Status, require_reason
from slots.models import Lease

# For the fetch before an approval, for whose answer a person waits.
APPROVAL_FETCH_SECONDS = 10.0
ACCEPT_CHECKS_REFUSAL = "Only an operator may accept a branch's own checks for the target branch's."
PRIORITY_REFUSAL = "Only an operator may give a run a priority."


class BranchUnknown(Refused):
    """The git remote has no branch of that name."""

    def __init__(self, branch: str) -> None:
        detail = f"The git remote has no branch {branch}."
        super().__init__("branch_unknown", detail, status=404)


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
    """Create a run of a branch or a commit and request a slot for it, which may be granted at once.

    Without `prepare` the run is a reservation: it only holds a slot, and git is not asked. A run
    with a higher `priority` waits before all with a lower one; callers allow that to operators.
    Raises Refused: as `validate_ref` and `validate_sha`, `source_required` (400),
    `branch_is_target`, `branch_unknown` (404), `sha_unknown` (404), `queue_full` (429).
    """
    sha = _find_source(branch, commit, prepare=prepare)
    with grant_lock():
        return _insert_run(
            title=title,
            branch=branch,
            commit_sha=sha,
            prepare=prepare,
            priority=priority,
            parent=parent,
            created_by=actor,
        )


def _insert_run(**fields: Any) -> Run:
    """Create the row and request a slot for it. The caller holds the grant lock."""
    run = Run.objects.create(**fields, created_at=ClockTimestamp())
    run.refresh_from_db()
    rank = f", priority {run.priority}" if run.priority else ""
    text = f"{run.title}: {run.branch or run.commit_sha[:12] or 'a slot'}{rank}"
    record_event("created", text, actor=run.created_by, run=run)
    if run.prepare:
        leases.request_slot(run, actor=run.created_by)
    run.refresh_from_db()
    return run


def request_run(
    *,
    title: str,
    actor: str,
    branch: str = "",
    commit: str = "",
    prepare: bool = True,
    priority: int = 0,
    another: bool = False,
) -> tuple[Run, bool]:
    """Return the open run of the branch or commit, else create one; and whether it is new.

    With `another`, and for a reservation, a run is always created. Raises Refused as `create_run`.
    """
    sha = _find_source(branch, commit, prepare=prepare)
    with grant_lock():
        found = _find_open_run(branch, sha) if prepare and not another else None
        if found is not None:
            return found, False
        run = _insert_run(
            title=title,
            branch=branch,
            commit_sha=sha,
            prepare=prepare,
            priority=priority,
            created_by=actor,
        )
    return run, True


def _find_open_run(branch: str, head: str) -> Run | None:
    """Return the newest open run of the branch, else of the commit; None if there is none.

    A run that is being ended is none, nor is one that merges another commit than the branch's head.
    """
    open_runs = Run.objects.unfinished().filter(prepare=True, stop_status="")
    follows = open_runs.exclude(status__in=MERGING_OR_DEPLOYING) | open_runs.filter(commit_sha=head)
    same = follows.filter(branch=branch) if branch else follows.filter(commit_sha=head)
    return same.order_by("-created_at").first()


def _find_source(branch: str, commit: str, *, prepare: bool) -> str:
    """Return the commit of a new run, "" for a reservation without one. It may fetch: no lock."""
    find = _resolve_commit if prepare else _validate_source
    return find(settings.OROBOROS, branch, commit)


def _validate_source(config: Config, branch: str, commit: str) -> str:
    """Validate both names. Returns the commit, or "" if there is none. Raises Refused."""
    if branch and validate_ref(branch) == config.target_branch:
        raise Refused(
            "branch_is_target", f"{branch} is the target branch: branches are shipped to it."
        )
    return validate_sha(commit) if commit else ""


def _resolve_commit(config: Config, branch: str, commit: str) -> str:
    """Return the id of the commit, else of the branch's head on the remote. Raises Refused."""
    sha = _validate_source(config, branch, commit)
    if not branch and not commit:
        raise Refused("source_required", "Name a branch or a commit.", status=400)
    repo = open_repository(config)
    if sha and repo.has_commit(sha):
        return sha
    # A commit that is here needs no fetch. A branch always does: its head may have moved.
    repo.fetch(config.git_remote_url)
    if sha:
        return repo.require_commit(sha)
    head = repo.find_branch_head(branch)
    if head is None:
        raise BranchUnknown(branch)
    return head


def approve(
    run: Run,
    *,
    actor: str,
    commit_sha: str = "",
    reason: str = "",
    accept_checks: bool = False,
    checklist: Sequence[str] = (),
) -> ApprovalState:
    """Approve the run's commit; with the last approval that it needs, enqueue the run to ship.

    A commit that is pushed before it ships voids the approvals. With `accept_checks`, the branch's
    checks run in place of the target branch's; callers allow that to operators. `checklist` are the
    items that the person confirms. Returns the state of the approvals. Raises Refused
    `not_ready`, `already_stopping`, `commit_moved`, `lease_fenced`, `unrelated_history`,
    `nothing_to_ship`, and as `ApprovalState.find_refusal` and `check_ticked`.
    """
    _refuse_unmergeable(run)
    with grant_lock():
        run = Run.objects.select_for_update().get(pk=run.pk)
        if run.status != Status.PREVIEW_READY:
            raise Refused(
                "not_ready", f"The run is {run.status}; only a ready preview can be approved."
            )
        _refuse_stopping(run)
        if commit_sha and validate_sha(commit_sha) != run.commit_sha:
            raise Refused(
                "commit_moved",
                f"The preview shows {run.commit_sha}; look at it again, then approve that commit.",
            )
        state, approver = read_state(run), build_approver(actor)
        if (refusal := state.find_refusal(approver)) is not None:
            raise refusal
        check_ticked(state.checklist, checklist)
        if not state.has_approved(approver.person):
            _record_approval(run, approver, reason, accept_checks, checklist)
        state = state.with_approval(approver)
        checks = " with its own checks only" if accept_checks else ""
        missing = "" if state.is_complete else f" ({state.describe()})"
        because = f": {reason}" if reason else ""
        text = f"approved {run.commit_sha[:12]}{checks}{missing}{because}"
        record_event("approved", text, actor=actor, run=run)
        if state.is_complete:
            _enter_merge_queue(run)
    return state


def _enter_merge_queue(run: Run) -> None:
    # It waits for checks from the first: the forge is asked for them afterwards.
    checks = landing.describe_required_checks(settings.OROBOROS)
    now = ClockTimestamp()
    run.move(Status.APPROVED, approved_at=now, next_action="", awaited_checks=checks)
    leases.pin_lease(run)
    enqueue(run.pk)


def _record_approval(
    run: Run, approver: Approver, reason: str, accept_checks: bool, checklist: Sequence[str]
) -> None:
    Approval.objects.create(
        run=run,
        commit_sha=run.commit_sha,
        verdict=Approval.APPROVED,
        actor=approver.name,
        person=approver.person,
        identities=sorted(approver.identities),
        checklist=list(checklist),
        reason=reason,
        accepts_checks=accept_checks,
        at=ClockTimestamp(),
    )


def _refuse_unmergeable(run: Run) -> None:
    """Refuse a commit that cannot ship, by the target branch as the remote has it now.

    It may have been merged elsewhere since the remote was last fetched. Raises Refused
    `commit_moved` if the branch has another commit there, `unrelated_history`, `nothing_to_ship`.
    """
    config = settings.OROBOROS
    repo = open_repository(config)
    if run.status != Status.PREVIEW_READY or not repo.has_commit(run.commit_sha):
        return
    head, has_moved = None, False
    # A remote that does not answer is no reason: shipping asks it again.
    with suppress(Refused):
        repo.fetch(config.git_remote_url, timeout=APPROVAL_FETCH_SECONDS)
        head = repo.find_branch_head(run.branch) if run.branch else None
        has_moved = head not in (None, run.commit_sha)
    if has_moved:
        raise Refused(
            "commit_moved",
            f"{run.branch} is at {str(head)[:12]} on the remote now, and the preview shows "
            f"{run.commit_sha[:12]}: wait for the new preview, then approve that commit.",
        )
    # At once, and whether the approval is refused or not: the minute's watch would be too late.
    branch_watch.update_merge_notes(config, repo, run)
    try:
        problem = merge_forecast.find_obstacle(repo, run, config.target_branch)
    except Refused:  # nothing was fetched yet, or the target branch was deleted
        return
    if problem is not None:
        raise problem


def reject(run: Run, *, actor: str, reason: str) -> None:
    """Reject the run's commit and end the run. Raises Refused `reason_required`, as `cancel`."""
    require_reason(reason, "Give a reason, so that the author can fix it.")
    with grant_lock():
        # The commit as it is under the lock: a push may have moved the run since it was read.
        locked = Run.objects.select_for_update().get(pk=run.pk)
        lease = _end_or_request_stop(run, Status.REJECTED, actor, reason)
        Approval.objects.create(
            run=run,
            commit_sha=locked.commit_sha,
            verdict=Approval.REJECTED,
            actor=actor,
            reason=reason,
            at=ClockTimestamp(),
        )
    finish.clean_up_run(settings.OROBOROS, run, lease)


def cancel(run: Run, *, actor: str, reason: str = "", code: str = "") -> None:
    """End the run, with a failure code if there is one for the reason.

    Its processes are stopped before its status changes. Raises Refused `already_ended`,
    `already_stopping`, `too_late` once the merge has begun.
    """
    with grant_lock():
        lease = _end_or_request_stop(run, Status.CANCELED, actor, reason, code)
    finish.clean_up_run(settings.OROBOROS, run, lease)


def _end_or_request_stop(
    run: Run, to: Status, actor: str, reason: str, code: str = ""
) -> Lease | None:
    """Move the run to `to`, or request the process that has claimed it to do so.

    Returns the lease that the caller must clean, if the run was moved here.
    """
    run = Run.objects.select_for_update().get(pk=run.pk)
    at = get_database_time()
    if run.is_final:
        raise Refused("already_ended", f"The run is already {run.status}.")
    if finish.is_too_late_to_stop(run):
        raise Refused(
            "too_late", "The merge has begun; wait for its end, then roll back the release."
        )
    _refuse_stopping(run)
    record_event("stop_requested", f"{to}: {reason}" if reason else str(to), actor=actor, run=run)
    if run.is_claimed(at):
        # Without a task: the process that has the claim looks for requests every second.
        run.request_stop(to=to, code=code, reason=reason, actor=actor)
        return None
    return finish.move_to_final_status(run, None, to, code=code, detail=reason, actor=actor)


def _refuse_stopping(run: Run) -> None:
    if run.stop_status:
        raise Refused("already_stopping", f"The run is already being ended ({run.stop_status}).")


def retry(run: Run, *, actor: str) -> Run:
    """Create a child run of the same branch, or of the same commit if the branch was deleted.

    While such a child is open, asking again returns it. Raises Refused `not_ended`, and as
    `create_run`.
    """
    if not run.is_final:
        raise Refused("not_ended", f"The run is {run.status}; only an ended run can be retried.")
    if (running := run.children.unfinished().filter(stop_status="").first()) is not None:
        return running
    try:
        return _create_child(
            run, actor, branch=run.branch, commit="" if run.branch else run.commit_sha
        )
    except BranchUnknown:
        return _create_child(run, actor, branch="", commit=run.commit_sha)


def _create_child(run: Run, actor: str, *, branch: str, commit: str) -> Run:
    return create_run(
        title=run.title,
        branch=branch,
        commit=commit,
        prepare=run.prepare,
        actor=actor,
        priority=run.priority,
        parent=run,
    )


def keep(run: Run, *, actor: str, seconds: int) -> datetime:
    """Keep the preview for at least `seconds` from now; returns when its lease expires.

    A lease that ends later is not changed. Raises Refused as `leases.keep`.
    """
    return leases.keep(run, seconds=seconds, actor=actor)
