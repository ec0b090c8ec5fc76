"""What the remote's branches do to runs: they get commits, are deleted, are pushed to by hand."""

import logging

from django.conf import settings
from django.db import transaction

from core.claims import Claim
from core.clock import ClockTimestamp, database_time
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from runs.engine.enqueue import ring
from runs.engine.journal import WORKER, is_past_stopping, record
from runs.leasing import leases
from runs.leasing.reservations import ask_to_stop
from runs.models import Approval, Beat, Run
from runs.pipelines import shipping
from runs.repository import repository
from runs.rules import Status
from slots.models import Lease

log = logging.getLogger(__name__)

# The beat that stands while the minute's fetch fails: since when.
FAILS = "fetch_fails"


def watch_branches() -> list[Run]:
    """Fetch the remote; runs whose branch has a new commit are prepared anew and renewed.

    A branch that was there and is deleted takes its runs along while nobody has approved them: what
    is approved is a commit, and ships without its branch. A remote that has lost even the target
    branch is not believed.
    """
    config = settings.OROBOROS
    if not config.git_remote_url:
        return []
    repo = repository(config)
    _fetch(repo, config.git_remote_url)
    heads = repo.branches()
    _note_pushed(config, repo)
    waiting = Run.objects.filter(
        prepare=True, status__in=(Status.QUEUED, Status.PREVIEW_READY, Status.APPROVED)
    ).exclude(branch="")
    moved = []
    for run in waiting:
        head = heads.get(run.branch)
        if head and head != run.commit_sha and renew_commit(run, head, None):
            moved.append(run)
        elif head is None and config.target_branch in heads:
            _end_without_branch(run)
    waiting.filter(branch__in=heads, branch_seen_at=None).update(branch_seen_at=ClockTimestamp())
    return moved


def _fetch(repo: Repository, url: str) -> None:
    """Fetch; that it began to fail is told once, and that it works again. Raises Refused."""
    try:
        repo.fetch(url)
    except Refused as refused:
        with transaction.atomic():
            if Beat.objects.get_or_create(name=FAILS, defaults={"at": ClockTimestamp()})[1]:
                text = f"new commits are not seen any more: {refused.detail}"
                record("fetch_fails", text, actor=WORKER)
        raise
    with transaction.atomic():
        if Beat.objects.filter(name=FAILS).delete()[0]:
            record("fetch_works", "new commits are seen again", actor=WORKER)


def _end_without_branch(run: Run) -> None:
    """Have the run canceled if its branch was there once and nobody has approved the commit."""
    waits = Run.objects.filter(status__in=(Status.QUEUED, Status.PREVIEW_READY), stop_status="")
    seen = waits.filter(pk=run.pk, branch_seen_at__isnull=False)
    reason = f"the git remote has no branch {run.branch} any more; a retry takes its last commit"
    with leases.entered():
        if seen.select_for_update().exists():
            ask_to_stop(run, to=Status.CANCELED, code="", reason=reason, actor=WORKER)


def _note_pushed(config: Config, repo: Repository) -> None:
    """Tell the runs whose commit we did not push that it is there now."""
    unpushed = list(shipping.unpushed(config))
    head = shipping.pushed_head(config, repo, log.warning) if unpushed else None
    if head is None:
        return
    there = repo.contained(head, [run.candidate_sha for run in unpushed])
    for run in unpushed:
        row = Run.objects.filter(pk=run.pk, pushed=False)
        # What failed has more to be done than the push.
        todo = "" if run.status == Status.MERGED else run.next_action
        if run.candidate_sha in there and row.update(pushed=True, next_action=todo):
            record("pushed", "the remote has the commit now", actor=WORKER, run=run)


def renew_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    """Take the branch's new commit: void the approval, begin the preview anew, renew the lease.

    False, and nothing changed, while another process works on the run, or if its lease is over.
    """
    with leases.entered():
        return _renew_commit(run, sha, claim)


def _renew_commit(run: Run, sha: str, claim: Claim | None) -> bool:
    run = Run.objects.select_for_update().get(pk=run.pk)
    at = database_time()
    if claim is None and run.is_claimed(at):
        return False
    if run.is_final or run.stop_status or is_past_stopping(run, shipping.ACTIONS):
        return False
    if run.status != Status.QUEUED and not Lease.objects.good(at).filter(run=run).exists():
        return False
    Approval.objects.filter(run=run, verdict=Approval.APPROVED, voided_at=None).update(
        voided_at=ClockTimestamp(), void_reason=f"the branch has a new commit, {sha}"
    )
    # What was made of the commit before is not what will be looked at.
    fields = {
        "commit_sha": sha,
        "generation": run.generation + 1,
        "approved_at": None,
        "base_sha": "",
        "candidate_sha": "",
    }
    if run.status == Status.QUEUED:
        Run.objects.filter(pk=run.pk).update(**fields)
    else:
        run.move(Status.PREPARING, claim=claim, next_action="", **fields)
        leases.renew(run)
        leases.unpin(run)
        ring(run.pk)
    record("new_commit", f"{run.branch} is at {sha[:12]} now", actor=WORKER, run=run)
    return True


def prepare_anew(run: Run) -> bool:
    """Begin the preview of the same commit anew, in the slot it holds.

    False, and nothing changed, unless it was ready and nobody works on it.
    """
    with leases.entered():
        run = Run.objects.select_for_update().get(pk=run.pk)
        at = database_time()
        is_idle = run.status == Status.PREVIEW_READY and not run.is_claimed(at)
        if not is_idle or run.stop_status or not Lease.objects.good(at).filter(run=run).exists():
            return False
        run.move(Status.PREPARING, next_action="", generation=run.generation + 1)
        ring(run.pk)
    return True
