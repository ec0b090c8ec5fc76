"""Following the remote's branches: new commits, deleted branches, and commits that were pushed."""

import logging
from collections.abc import Mapping

from django.conf import settings
from django.db import transaction

from core.claims import Claim
from core.clock import ClockTimestamp, get_database_time
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from runs import landing
from runs.engine.enqueue import enqueue
from runs.engine.events import WORKER, record_event
from runs.engine.journal import has_begun_irreversible_step
from runs.engine.notes import list_new_texts, replace_notes
from runs.leasing import leases
from runs.leasing.grants import grant_lock
from runs.leasing.reservations import request_stop
from runs.models import Heartbeat, Run
from runs.pipelines import merge_forecast, shipping
from runs.repository import open_repository
from runs.rules import SHIPPING, Status
from slots.models import Lease

log = logging.getLogger(__name__)

# The row of this name exists while fetches fail; its time is that of the first failure.
FETCH_FAILING = "fetch_failing"


def watch_branches() -> list[Run]:
    """Fetch the remote and restart the previews whose branch has a new commit. Returns their runs.

    A run whose branch was deleted is canceled unless it is approved: an approval is of a commit,
    which ships without its branch. If the target branch is missing too, the remote is taken to be
    broken and nothing is canceled. Raises Refused if the fetch fails.
    """
    config = settings.OROBOROS
    if not config.git_remote_url:
        return []
    repo = open_repository(config)
    _fetch(repo, config.git_remote_url)
    heads = repo.list_branch_heads()
    record_pushed_commits(config, repo)
    followed = Run.objects.filter(
        prepare=True, status__in=(Status.QUEUED, Status.PREVIEW_READY, Status.APPROVED)
    ).exclude(branch="")
    restarted = [run for run in followed if _follow_branch(config, run, heads)]
    followed.filter(branch__in=heads, branch_seen_at=None).update(branch_seen_at=ClockTimestamp())
    for run in Run.objects.filter(prepare=True, status=Status.PREVIEW_READY):
        update_merge_notes(config, repo, run)
    return restarted


def _follow_branch(config: Config, run: Run, heads: Mapping[str, str]) -> bool:
    """Restart the run at its branch's head, or cancel it without one; returns if it restarted."""
    head = heads.get(run.branch)
    if head is not None:
        return head != run.commit_sha and restart_with_commit(run, head, None)
    if config.target_branch in heads:
        _cancel_without_branch(run)
    return False


def update_merge_notes(config: Config, repo: Repository, run: Run) -> None:
    """Replace the run's forecast and notes of its merge: the target branch may have moved since."""
    try:
        forecast = merge_forecast.forecast_run(repo, run, config.target_branch)
        stored = merge_forecast.to_json(repo, forecast, run)
    except Refused as refused:  # such as a target branch that was deleted
        log.warning("the merge of run %s is not known: %s", run.pk, refused.detail)
        return
    with transaction.atomic():
        row = Run.objects.select_for_update().filter(pk=run.pk, generation=run.generation)
        ready = row.filter(status=Status.PREVIEW_READY).first()
        if ready is None:
            return
        sentences = merge_forecast.list_merge_notes(forecast, run, config.target_branch)
        notes = replace_notes(ready.notes, run.generation, merge_forecast.TOPIC, sentences)
        row.update(notes=notes, merge_forecast=stored)
        for text in list_new_texts(ready.notes, notes):
            record_event("note", text, actor=WORKER, run=run)


def _fetch(repo: Repository, url: str) -> None:
    """Fetch, and record the first failure and the first success after it. Raises Refused."""
    try:
        repo.fetch(url)
    except Refused as refused:
        with transaction.atomic():
            # The row keeps the event from being repeated each minute.
            _, is_first = Heartbeat.objects.get_or_create(
                name=FETCH_FAILING, defaults={"at": ClockTimestamp()}
            )
            if is_first:
                text = f"The git remote cannot be fetched: {refused.detail}"
                record_event("fetch_failed", text, actor=WORKER)
        raise
    with transaction.atomic():
        if Heartbeat.objects.filter(name=FETCH_FAILING).delete()[0]:
            record_event("fetch_recovered", "the git remote is fetched again", actor=WORKER)


def _cancel_without_branch(run: Run) -> None:
    """Cancel the run if its branch existed before and its commit is not approved."""
    unapproved = Run.objects.filter(
        status__in=(Status.QUEUED, Status.PREVIEW_READY), stop_status=""
    )
    # A run may be created for a branch that is pushed a moment later: only one that was seen can
    # have been deleted.
    seen = unapproved.filter(pk=run.pk, branch_seen_at__isnull=False)
    reason = f"the git remote no longer has the branch {run.branch}; a retry takes its last commit"
    with grant_lock():
        # Queried again under the lock: the run may have been approved since the fetch.
        if seen.select_for_update().exists():
            request_stop(run, to=Status.CANCELED, code="", reason=reason, actor=WORKER)


def record_pushed_commits(config: Config, repo: Repository) -> None:
    """Mark the runs whose commit we did not push and the remote has now."""
    runs = list(shipping.list_unpushed_runs(config))
    head = shipping.fetch_remote_head(config, repo, log.warning) if runs else None
    if head is None:
        return
    pushed = repo.filter_contained(head, [run.candidate_sha for run in runs])
    for run in runs:
        row = Run.objects.filter(pk=run.pk, pushed=False)
        # The next action of a merged run is the push itself. A failed run needs more than that.
        next_action = "" if run.status == Status.MERGED else run.next_action
        if run.candidate_sha in pushed and row.update(pushed=True, next_action=next_action):
            record_event("pushed", "the remote has the commit now", actor=WORKER, run=run)


def restart_with_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    """Start the preview again with a new commit: void the approval and renew the lease.

    Returns False, and changes nothing, if another process has claimed the run, if it is ending or
    merging, or if its lease is over.
    """
    with grant_lock():
        return _restart_with_commit(run, sha, claim)


def _restart_with_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    run = Run.objects.select_for_update().get(pk=run.pk)
    at = get_database_time()
    if claim is None and run.is_claimed(at):
        return False
    if run.is_final or run.stop_status or has_begun_irreversible_step(run, shipping.STEPS):
        return False
    if run.status in SHIPPING and landing.find_landed(run):
        return False
    # A queued run has no slot to lose; it keeps its position in the queue.
    if run.status != Status.QUEUED and not Lease.objects.valid(at).filter(run=run).exists():
        return False
    run.approvals.valid().update(
        voided_at=ClockTimestamp(), void_reason=f"the branch has a new commit, {sha}"
    )
    fields = {
        "commit_sha": sha,
        # A new generation has a journal and artifacts of its own.
        "generation": run.generation + 1,
        # An approver must not be shown the difference of the earlier commit's candidate.
        "approved_at": None,
        "base_sha": "",
        "candidate_sha": "",
    }
    if run.status == Status.QUEUED:
        Run.objects.filter(pk=run.pk).update(**fields)
    else:
        run.move(Status.PREPARING, claim=claim, next_action="", **fields)
        leases.renew_lease(run)
        leases.unpin_lease(run)
        enqueue(run.pk)
    record_event("new_commit", f"{run.branch} is at {sha[:12]} now", actor=WORKER, run=run)
    return True


def prepare_again(run: Run) -> bool:
    """Start the preview of the same commit again, in the slot that the run holds.

    Returns False, and changes nothing, unless the preview is ready and no process has claimed it.
    """
    with grant_lock():
        run = Run.objects.select_for_update().get(pk=run.pk)
        at = get_database_time()
        is_idle = run.status == Status.PREVIEW_READY and not run.is_claimed(at)
        has_lease = Lease.objects.valid(at).filter(run=run).exists()
        if not is_idle or run.stop_status or not has_lease:
            return False
        # The steps of the present generation have succeeded and would be skipped.
        run.move(Status.PREPARING, next_action="", generation=run.generation + 1)
        enqueue(run.pk)
    return True
