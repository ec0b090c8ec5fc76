"""From the approval to `merged`: candidate → gate → merge → push → deploy → health gate.

One run ships at a time; whose turn it is the rows say. Every action asks the repository, the
remote or the registry whether its effect is there before it acts, so it may be repeated at will.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from oroboros.clock import database_time
from oroboros.errors import Refused
from oroboros.lib.git import Author, Repository
from releases import tasks as releases
from releases.activation import ActivationFailed
from releases.models import Activation, ActivationLost, Release
from releases.rules import ActivationOutcome
from releases.shipping import needs_gate
from runs import gate
from runs.journal import Action, Again, Context, StepFailed, Stopped
from runs.models import Approval, Freeze, Run
from runs.models.run import RunQuerySet
from runs.repository import find_base, repository
from runs.rules import PushMode, Status

CANDIDATES = "refs/oroboros/candidates"


class NewCommit(Stopped):
    """The branch has moved on since the approval, which it voids."""

    def __init__(self, sha: str) -> None:
        super().__init__(sha)
        self.sha = sha


def in_order() -> list[Run]:
    """Return the runs that are shipping or wait for it: the one at work first, then by approval."""
    runs = list(Run.objects.shipping())
    return sorted(runs, key=lambda run: run.status == Status.APPROVED)


def standing_freeze() -> Freeze | None:
    """Return what holds shipping now, or None."""
    at = database_time()
    standing = Freeze.objects.filter(lifted_at=None).select_related("run")
    return next((one for one in standing if one.until is None or one.until > at), None)


def has_its_turn(run: Run) -> bool:
    """Whether this run may ship now: it is first in line, and nothing but its parent freezes it."""
    line = in_order()
    if not line or line[0].pk != run.pk:
        return False
    freeze = standing_freeze()
    mends = freeze is not None and freeze.run_id is not None and freeze.run_id == run.parent_id
    return freeze is None or mends or run.status != Status.APPROVED


# -- candidate ------------------------------------------------------------------------------------


def target_ref(context: Context) -> str:
    """Return our ref of the target branch."""
    return f"refs/heads/{context.config.target_branch}"


def make_candidate(context: Context) -> None:
    """Merge the approved commit into the base, in the object database."""
    config, run = context.config, context.run
    repo = repository(config)
    repo.fetch(config.git_remote_url)
    head = repo.branch_sha(run.branch) if run.branch else None
    if head is not None and head != run.commit_sha:
        raise NewCommit(head)
    base, ours = find_base(repo, config.target_branch)
    if ours != base and not repo.update_ref(target_ref(context), base, ours):
        raise Again("candidate", f"{config.target_branch} moved while its base was looked up")
    context.say(f"base {base}")
    candidate = _merged(context, repo, base)
    repo.update_ref(f"{CANDIDATES}/{run.pk}", candidate, repo.head(f"{CANDIDATES}/{run.pk}"))
    context.set(base_sha=base, candidate_sha=candidate)


def _merged(context: Context, repo: Repository, base: str) -> str:
    run = context.run
    if repo.is_ancestor(run.commit_sha, base):
        if mends_a_deploy(run):
            context.say("the commit is merged already; it is deployed again")
            return base
        raise StepFailed(
            "NOTHING_TO_SHIP", f"{context.config.target_branch} contains {run.commit_sha} already."
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


def mends_a_deploy(run: Run) -> bool:
    """Whether an ancestor of the retries merged this very commit and failed after it."""
    parent = run.parent
    while parent is not None:
        if parent.candidate_sha and parent.commit_sha == run.commit_sha:
            return True
        parent = parent.parent
    return False


def see_candidate(context: Context) -> dict[str, Any] | None:
    """Say what the candidate is, if it is made on the base of now."""
    run, repo = context.run, repository(context.config)
    ref = repo.head(f"{CANDIDATES}/{run.pk}")
    if not run.candidate_sha or ref != run.candidate_sha:
        return None
    if repo.head(target_ref(context)) != run.base_sha:
        return None
    return {"base": run.base_sha, "candidate": run.candidate_sha}


# -- merge and push -------------------------------------------------------------------------------


def merge(context: Context) -> None:
    """Move our target branch from the base to the candidate: compare and swap."""
    run, repo = context.run, repository(context.config)
    if not repo.update_ref(target_ref(context), run.candidate_sha, run.base_sha):
        context.set(candidate_sha="")
        raise Again("candidate", f"{context.config.target_branch} moved; a new candidate is made")


def see_merge(context: Context) -> dict[str, Any] | None:
    """The merge is there if our branch contains the candidate."""
    run, repo = context.run, repository(context.config)
    head = repo.head(target_ref(context))
    merged = head is not None and repo.is_ancestor(run.candidate_sha, head)
    return {"commit": run.candidate_sha} if merged else None


def push(context: Context) -> None:
    """Push as the mode says; in `auto` a failure takes our branch back to the base."""
    config, run, mode = context.config, context.run, push_mode()
    repo = repository(config)
    context.say(f"push mode {mode}: {run.candidate_sha} to {config.target_branch}")
    if mode == PushMode.MANUAL:
        context.set(pushed=False, next_action=push_command(repo, run, config.target_branch))
        return
    try:
        outcome = repo.push(
            remote(context),
            run.candidate_sha,
            config.target_branch,
            log=context.log,
            timeout=config.seconds("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS", 60),
            dry_run=mode == PushMode.DRY_RUN,
        )
        arrived = outcome.exit_code == 0 or _is_pushed(context, repo)
    except Refused as refused:
        context.say(refused.detail)
        arrived = False
    if not arrived:
        _take_back(context, repo)
        raise StepFailed(
            "DEPLOY_PUSH_FAILED",
            f"The remote did not take {run.candidate_sha[:12]}:\n{context.tail(8)}",
        )
    if mode == PushMode.DRY_RUN:
        context.set(pushed=False, next_action=push_command(repo, run, config.target_branch))
    else:
        context.set(pushed=True)


def see_push(context: Context) -> dict[str, Any] | None:
    """In `auto` ancestry on the remote decides; else the row says that the guards ran."""
    run = context.run
    if push_mode() != PushMode.AUTO:
        return {"pushed": False} if run.pushed is False else None
    try:
        arrived = _is_pushed(context, repository(context.config))
    except Refused as refused:
        context.say(refused.detail)
        return None
    if arrived and run.pushed is not True:
        context.set(pushed=True)
    return {"pushed": True} if arrived else None


def _is_pushed(context: Context, repo: Repository) -> bool:
    """Whether the remote's branch contains the candidate, asked of the remote itself."""
    run = context.run
    head = repo.remote_head(remote(context), context.config.target_branch)
    if head is None or head == run.candidate_sha:
        return head is not None
    if not repo.has(head):
        repo.fetch(remote(context))
    return repo.is_ancestor(run.candidate_sha, head)


def _take_back(context: Context, repo: Repository) -> None:
    """Our branch goes back to the base, so that nothing rides along with the next run."""
    run = context.run
    if run.base_sha != run.candidate_sha:
        repo.update_ref(target_ref(context), run.base_sha, run.candidate_sha)
    context.say(f"{context.config.target_branch} is back at {run.base_sha}")


def push_mode() -> PushMode:
    """Return MERGE_GATE_GIT_PUSH_MODE; `manual` if it is not set."""
    return PushMode(settings.OROBOROS.get("MERGE_GATE_GIT_PUSH_MODE", PushMode.MANUAL))


def remote(context: Context) -> str:
    """Return where to push: MERGE_GATE_GIT_PUSH_REMOTE, else where we fetch from."""
    return context.config.get("MERGE_GATE_GIT_PUSH_REMOTE", context.config.git_remote_url)


def push_command(repo: Repository, run: Run, target: str) -> str:
    """Return the command that pushes what this run merged."""
    where = settings.OROBOROS.get("MERGE_GATE_GIT_PUSH_REMOTE", settings.OROBOROS.git_remote_url)
    return f"git --git-dir={repo.path} push {where} {run.candidate_sha}:refs/heads/{target}"


def unpushed() -> RunQuerySet:
    """Return the merged runs whose commit was not pushed by us."""
    return Run.objects.filter(status=Status.MERGED, pushed=False)


# -- deploy and health gate -----------------------------------------------------------------------


def deploy(context: Context) -> None:
    """Make the build live, as far as the switch."""
    config, run = context.config, context.run
    release = Release.objects.get(pk=context.results["release"]["release"])
    with _told(context):
        releases.switch_to(
            config,
            release.pk,
            actor=approver(run),
            reason=run.title,
            run_id=run.pk,
            key=_key(run),
            is_gated=needs_gate(config, repository(config), release),
            log=context.log,
            stop=context.is_stopping,
        )


def see_deploy(context: Context) -> dict[str, Any] | None:
    """The switch is made once the activation says so and did not fail since."""
    activation = Activation.objects.filter(key=_key(context.run)).first()
    if activation is None or activation.switched_at is None:
        return None
    if activation.is_over and activation.outcome != ActivationOutcome.SUCCEEDED:
        return None
    return {"activation": activation.number, "is_gated": activation.is_gated}


def watch(context: Context) -> None:
    """Pass the health gate, or have the last healthy release serve again."""
    activation = Activation.objects.get(key=_key(context.run))
    with _told(context):
        releases.confirm(context.config, activation, log=context.log, stop=context.is_stopping)


def see_health(context: Context) -> dict[str, Any] | None:
    """The gate has passed once the activation has succeeded."""
    passed = Activation.objects.filter(
        key=_key(context.run), outcome=ActivationOutcome.SUCCEEDED
    ).first()
    return None if passed is None else {"activation": passed.number}


def _key(run: Run) -> str:
    """Name the one activation that this run makes."""
    return f"{run.pk}:{run.generation}"


def approver(run: Run) -> str:
    """Return who approved the commit that is shipped."""
    return run.approvals.get(verdict=Approval.APPROVED, voided_at=None).actor


@contextmanager
def _told(context: Context) -> Iterator[None]:
    """Turn how an activation ends into how a step does, with the guidance for this very case."""
    try:
        yield
    except ActivationFailed as failed:
        guidance = "\n".join(failed.guidance)
        context.event("rollback_guidance", f"To look and to go on:\n{guidance}")
        raise StepFailed(
            "DEPLOY_HEALTHCHECK_FAILED", failed.detail, next_action=guidance
        ) from failed
    except ActivationLost:
        raise Stopped from None


ACTIONS = (
    Action("candidate", make_candidate, see_candidate, begins=Status.MERGING),
    Action("rehearse", gate.rehearse, gate.see_rehearsal),
    Action("checks", gate.check, gate.see_checks),
    Action("release", gate.build, gate.see_build),
    Action("merge", merge, see_merge, is_past_stopping=True),
    Action("push", push, see_push, "deploy_git_push_log", is_past_stopping=True),
    Action(
        "deploy",
        deploy,
        see_deploy,
        "deploy_backend_reload_log",
        begins=Status.DEPLOYING,
        is_past_stopping=True,
    ),
    Action("health", watch, see_health, "deploy_backend_reload_log", is_past_stopping=True),
)
