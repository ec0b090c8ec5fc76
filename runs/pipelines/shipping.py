"""From the approval to `merged`: candidate → gate → merge → push → deploy → health gate.

Every action asks the repository, the remote or the registry whether its effect is there before it
acts, so it may be repeated at will. Whose turn it is, `runs.merge_queue` says.
"""

import logging
import time
from collections.abc import Callable
from itertools import takewhile
from typing import Any

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Author, Repository
from runs.engine.journal import Action, Context
from runs.engine.step_context import Again, StepFailed, Stopped
from runs.models import Approval, Run
from runs.models.run import RunQuerySet
from runs.pipelines import deployment, guidance, merge_gate
from runs.repository import (
    check_settings,
    find_base,
    push_mode,
    push_seconds,
    push_url,
    repository,
)
from runs.rules import PushMode, Status

log = logging.getLogger(__name__)

CANDIDATES = "refs/oroboros/candidates"
# After a push that took too long the remote may still be at it.
SETTLE_SECONDS = 5.0
PAUSE_SECONDS = 0.5

Found = dict[str, Any] | None


class NewCommit(Stopped):
    """The branch has moved on since the approval, which it voids."""

    def __init__(self, sha: str) -> None:
        super().__init__(sha)
        self.sha = sha


# -- candidate ------------------------------------------------------------------------------------


def target_ref(config: Config) -> str:
    """Return our ref of the target branch."""
    return f"refs/heads/{config.target_branch}"


def make_candidate(context: Context) -> None:
    """Merge the approved commit into the base, in the object database."""
    config, run = context.config, context.run
    repo = repository(config)
    check_settings(config)
    repo.fetch(config.git_remote_url)
    head = repo.branch_sha(run.branch) if run.branch else None
    if head is not None and head != run.commit_sha:
        raise NewCommit(head)
    base, ours = find_base(repo, config.target_branch)
    if ours != base and not repo.update_ref(target_ref(config), base, ours):
        raise Again("candidate", f"{config.target_branch} moved while its base was looked up")
    context.say(f"base {base}")
    candidate = _merged(context, repo, base)
    repo.update_ref(f"{CANDIDATES}/{run.pk}", candidate, repo.head(f"{CANDIDATES}/{run.pk}"))
    context.set(base_sha=base, candidate_sha=candidate)


def _merged(context: Context, repo: Repository, base: str) -> str:
    run = context.run
    if repo.is_ancestor(run.commit_sha, base):
        if mends_a_deploy(run, repo, base):
            context.say("the commit is merged already; it is deployed again")
            return base
        raise StepFailed(
            "NOTHING_TO_SHIP",
            f"{context.config.target_branch} contains {run.commit_sha} already. What was taken "
            "back there comes again by a new commit: revert the revert on the branch.",
        )
    approval = run.approvals.filter(verdict=Approval.APPROVED, voided_at=None).get()
    source = run.branch or run.commit_sha[:12]
    merge = repo.merge(
        base,
        run.commit_sha,
        message=f"Merge {source}: {run.title}\n\nApproved-by: {approval.actor}\nRun: {run.pk}\n",
        author=Author(approval.actor, "oroboros@localhost"),
        at=approval.at,
    )
    if merge.commit_sha is None:
        names = "\n".join(merge.conflicts)
        context.say(f"conflicts:\n{names}")
        raise StepFailed("MERGE_CONFLICT", f"Both sides changed:\n{names}")
    return merge.commit_sha


def mends_a_deploy(run: Run, repo: Repository, base: str) -> bool:
    """Whether a run that this one retries merged this very commit into `base` and failed after.

    Not where it was taken back since, nor where a retry of it was merged: nothing is left to ship.
    """
    unmended = takewhile(lambda one: one.status != Status.MERGED, run.ancestors())
    return any(
        one.commit_sha == run.commit_sha
        and one.candidate_sha not in ("", one.base_sha)
        and repo.contained(base, [one.candidate_sha])
        and not _is_taken_back(repo, one, base)
        for one in unmended
    )


def _is_taken_back(repo: Repository, merged: Run, base: str) -> bool:
    """Whether every file that the run's merge changed is in `base` as it was before the merge."""
    changed = set(repo.changed_files(merged.base_sha, merged.candidate_sha))
    return bool(changed) and changed.isdisjoint(repo.changed_files(merged.base_sha, base))


def see_candidate(context: Context) -> Found:
    """Say what the candidate is, if it is made on the base of now."""
    config, run = context.config, context.run
    repo = repository(config)
    candidate, base = repo.heads(f"{CANDIDATES}/{run.pk}", target_ref(config))
    if not run.candidate_sha or (candidate, base) != (run.candidate_sha, run.base_sha):
        return None
    return {"base": run.base_sha, "candidate": run.candidate_sha}


# -- merge and push -------------------------------------------------------------------------------


def merge(context: Context) -> None:
    """Move our target branch from the base to the candidate: compare and swap."""
    config, run = context.config, context.run
    repo = repository(config)
    if push_mode(config) == PushMode.AUTO and _has_moved(context, repo):
        raise _anew(context, repo, f"the remote's {config.target_branch} moved")
    if not repo.update_ref(target_ref(config), run.candidate_sha, run.base_sha):
        raise _anew(context, repo, f"{config.target_branch} moved")


def _anew(context: Context, repo: Repository, why: str) -> Again:
    """Return what begins anew; the candidate's ref goes first, so that no probe finds it."""
    ref = f"{CANDIDATES}/{context.run.pk}"
    head = repo.head(ref)
    if head is not None:
        repo.update_ref(ref, None, head)
    return Again("candidate", f"{why}: a new candidate is made")


def see_merge(context: Context) -> Found:
    """The merge is there if our branch contains the candidate."""
    run = context.run
    return {"commit": run.candidate_sha} if is_in_main(context.config, run) else None


def is_in_main(config: Config, run: Run) -> bool:
    """Whether our target branch contains the run's candidate."""
    repo = repository(config)
    head = repo.head(target_ref(config))
    return bool(run.candidate_sha and head) and repo.is_ancestor(run.candidate_sha, head or "")


def push(context: Context) -> None:
    """Push as the mode says; where that fails our branch goes back to the base."""
    config, run, mode = context.config, context.run, push_mode(context.config)
    repo = repository(config)
    if not is_in_main(config, run):
        merge(context)  # an attempt that failed was interrupted after it took the merge back
    context.say(f"push mode {mode}: {run.candidate_sha} to {config.target_branch}")
    if mode != PushMode.MANUAL and not _arrives(context, repo, is_dry=mode == PushMode.DRY_RUN):
        _refuse_push(context, repo)
    if mode == PushMode.AUTO:
        context.set(pushed=True)
    else:
        command = guidance.push_command(config, run.candidate_sha)
        context.set(pushed=False, next_action=command)


def _arrives(context: Context, repo: Repository, *, is_dry: bool) -> bool:
    """Push, and where git does not say that it went well ask the remote."""
    config, run = context.config, context.run
    try:
        outcome = repo.push(
            push_url(config),
            run.candidate_sha,
            config.target_branch,
            log=context.log,
            timeout=push_seconds(config),
            dry_run=is_dry,
            stop=context.is_stopping,
        )
    except Refused as refused:
        context.say(refused.detail)
        return False
    context.check()
    if outcome.exit_code == 0:
        return True
    until = time.monotonic() + (SETTLE_SECONDS if outcome.timed_out else 0.0)
    while not (is_there := _is_pushed(context, repo)) and time.monotonic() < until:
        context.check()
        time.sleep(PAUSE_SECONDS)
    return is_there


def _refuse_push(context: Context, repo: Repository) -> None:
    """Take the merge back; begin anew if the remote's branch moved, else fail."""
    config, run = context.config, context.run
    said = context.tail(8)
    _take_back(config, run, repo)
    context.say(f"{config.target_branch} is back at {run.base_sha}")
    if _has_moved(context, repo):
        raise _anew(context, repo, f"the remote's {config.target_branch} moved before the push")
    raise StepFailed(
        "DEPLOY_PUSH_FAILED",
        f"The remote did not take {run.candidate_sha[:12]}; nothing is merged or deployed.\n{said}",
        next_action="\n".join(guidance.after_push(config, run, context.log)),
    )


def see_push(context: Context) -> Found:
    """The remote's yes is kept in the row; where it got lost, ancestry on the remote decides."""
    config, run = context.config, context.run
    if push_mode(config) != PushMode.AUTO:
        return {"pushed": False} if run.pushed is False else None
    if run.pushed is not True:
        if not _is_pushed(context, repository(config)):
            return None
        context.set(pushed=True)
    return {"pushed": True}


def _is_pushed(context: Context, repo: Repository) -> bool:
    """Whether the remote's branch contains the candidate; a silent remote is no yes."""
    head = pushed_head(context.config, repo, context.say)
    return head is not None and repo.is_ancestor(context.run.candidate_sha, head)


def _has_moved(context: Context, repo: Repository) -> bool:
    """Whether the remote's branch is where the candidate cannot be pushed to; silence is no."""
    run, head = context.run, pushed_head(context.config, repo, context.say)
    return head is not None and not (
        repo.is_ancestor(head, run.base_sha) or repo.is_ancestor(run.candidate_sha, head)
    )


def pushed_head(config: Config, repo: Repository, say: Callable[[str], None]) -> str | None:
    """Ask where we push to where its branch is, and have that commit; None if it does not say."""
    url = push_url(config)
    try:
        head = repo.remote_head(url, config.target_branch)
        if head is not None and not repo.has(head):
            repo.fetch_branch(url, config.target_branch)
    except Refused as refused:
        say(refused.detail)
        return None
    return head


def _take_back(config: Config, run: Run, repo: Repository) -> None:
    """Our branch goes back to the base, so that nothing rides along with the next run."""
    if run.base_sha != run.candidate_sha:
        repo.update_ref(target_ref(config), run.base_sha, run.candidate_sha)


def leave_main(config: Config, run: Run) -> bool:
    """Have our branch without the candidate of a run that failed before its deploy.

    It stays where the remote has it. Returns whether our branch is without it.
    """
    if run.base_sha == run.candidate_sha:
        return True
    repo = repository(config)
    try:
        if is_in_main(config, run) and run.pushed is not True:
            head = pushed_head(config, repo, log.warning)
            if head is None or not repo.is_ancestor(run.candidate_sha, head):
                _take_back(config, run, repo)
        return not is_in_main(config, run)
    except Refused as refused:
        log.warning("run %s stays in %s: %s", run.pk, config.target_branch, refused.detail)
        return False


def unpushed(config: Config) -> RunQuerySet:
    """Return the runs whose commit our branch has and we did not push: failed deploys, too."""
    ours = Run.objects.filter(pushed=False, status__in=(Status.MERGED, Status.FAILED))
    candidates = set(ours.values_list("candidate_sha", flat=True))
    repo = repository(config)
    head = repo.head(target_ref(config)) if candidates else None
    # A person may have taken back what diverged, and a repository that was restored may be older.
    stays = repo.contained(head, candidates) if head is not None else set()
    return ours.filter(candidate_sha__in=stays)


ACTIONS = (
    Action("candidate", make_candidate, see_candidate),
    Action("rehearse", merge_gate.rehearse, merge_gate.see_rehearsal),
    Action("checks", merge_gate.check, merge_gate.see_checks),
    Action("release", merge_gate.build, merge_gate.see_build),
    Action("merge", merge, see_merge, is_past_stopping=True),
    Action("push", push, see_push, "deploy_git_push_log", is_past_stopping=True),
    Action(
        "deploy",
        deployment.deploy,
        deployment.see_deploy,
        deployment.RELOAD_LOG,
        begins=Status.DEPLOYING,
        is_past_stopping=True,
    ),
    Action(
        "health",
        deployment.watch,
        deployment.see_health,
        deployment.RELOAD_LOG,
        is_past_stopping=True,
    ),
)
