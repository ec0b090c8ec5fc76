"""The steps from `approved` to `merged`: candidate, merge gate, merge, push, deploy, health gate.

Every step probes the repository, the remote or the releases for its effect before it acts, so it
may be repeated. `runs.merge_queue` decides which run ships next.
"""

import logging
from collections.abc import Callable

from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from host.files import log_files
from host.git.bare_repository import Repository
from host.git.remote_errors import explain_remote_error
from runs import landing
from runs.engine.step_context import PipelineStep, StepContext, StepResult
from runs.engine.step_errors import PipelineRestart, StepFailed
from runs.models import Run
from runs.models.run import RunQuerySet
from runs.pipelines import deployment, merge_gate, recovery_commands, release_start
from runs.pipelines.candidates import merging
from runs.pipelines.candidates.merging import Signature
from runs.repository import open_repository, push_mode, push_seconds, push_url
from runs.rules import PushMode, Status

log = logging.getLogger(__name__)

CANDIDATES = "refs/oroboros/candidates"
# After a push that took too long the remote may still be processing it. It is probed for this long.
SETTLE_SECONDS = 5.0
PROBE_INTERVAL_SECONDS = 0.5
LOG_LINES = 30  # of git's output, in which the cause of a refused push is looked for


# -- candidate ------------------------------------------------------------------------------------


def target_ref(config: Config) -> str:
    """Return our ref of the target branch."""
    return f"refs/heads/{config.target_branch}"


def candidate_ref(run: Run) -> str:
    """Return the ref that keeps the run's candidate."""
    return f"{CANDIDATES}/{run.pk}"


def delete_candidate_ref(repo: Repository, run: Run) -> None:
    """Delete the ref of the run's candidate, if there is one."""
    head = repo.resolve_ref(candidate_ref(run))
    if head is not None:
        repo.update_ref(candidate_ref(run), None, head)


def make_candidate(context: StepContext) -> None:
    """Merge the approved commit into the base: in the object database, without a checkout."""
    config, run = context.config, context.run
    repo = open_repository(config)
    base, ours = merging.fetch_target(context, repo)
    landed = landing.find_landed(run)
    # What the forge merged has the base of the candidate before it.
    is_adopted = landed == base != ours and run.base_sha == ours
    if is_adopted:
        base = run.base_sha
    if ours != base and not repo.update_ref(target_ref(config), base, ours):
        raise PipelineRestart(
            "candidate", f"{config.target_branch} moved while the base was determined"
        )
    context.write_log(f"base {base}")
    candidate = landed if is_adopted else _merge_candidate(context, repo, base)
    # Without a ref git's garbage collection could delete the commit, to which no branch leads.
    ref = candidate_ref(run)
    repo.update_ref(ref, candidate, repo.resolve_ref(ref))
    context.update_run(base_sha=base, candidate_sha=candidate)
    # The probe would not accept a candidate on another base.
    if repo.resolve_ref(target_ref(config)) != base:
        raise _restart(context, repo, f"{config.target_branch} moved")


def _merge_candidate(context: StepContext, repo: Repository, base: str) -> str:
    """Return the candidate, which names the people who approved it."""
    approvals = list(context.run.approvals.valid())
    approval = approvals[0]  # the last one, which completed them
    approvers = "".join(f"Approved-by: {one.actor}\n" for one in reversed(approvals))
    # The approval's time, so that a repetition after a crash creates the same commit.
    signature = Signature(approval.actor, approval.at, approvers)
    return merging.merge_into_base(context, repo, base, signature)


def probe_candidate(context: StepContext) -> StepResult:
    """Return the candidate if it was made on the present base."""
    config, run = context.config, context.run
    repo = open_repository(config)
    candidate, base = repo.resolve_refs(candidate_ref(run), target_ref(config))
    if not run.candidate_sha or (candidate, base) != (run.candidate_sha, run.base_sha):
        return None
    return {"base": run.base_sha, "candidate": run.candidate_sha}


# -- merge and push -------------------------------------------------------------------------------


def merge(context: StepContext) -> None:
    """Move our target branch from the base to the candidate, by compare-and-swap."""
    config, run = context.config, context.run
    repo = open_repository(config)
    # In the other modes a person pushes later, and the remote may move until then.
    if push_mode(config) == PushMode.AUTO and _has_remote_moved(context, repo):
        raise _restart(context, repo, f"the remote's {config.target_branch} moved")
    if not repo.update_ref(target_ref(config), run.candidate_sha, run.base_sha):
        raise _restart(context, repo, f"{config.target_branch} moved")


def _restart(context: StepContext, repo: Repository, why: str) -> PipelineRestart:
    """Return the exception that restarts the pipeline at the candidate.

    The candidate's ref is deleted first, or the probe would find it again.
    """
    delete_candidate_ref(repo, context.run)
    return PipelineRestart("candidate", f"{why}: a new candidate is created")


def probe_merge(context: StepContext) -> StepResult:
    """Return the candidate if our target branch contains it."""
    run = context.run
    return {"commit": run.candidate_sha} if is_in_target_branch(context.config, run) else None


def is_in_target_branch(config: Config, run: Run) -> bool:
    """Return whether our target branch contains the run's candidate."""
    repo = open_repository(config)
    head = repo.resolve_ref(target_ref(config))
    return bool(run.candidate_sha and head) and repo.is_ancestor(run.candidate_sha, head or "")


def push(context: StepContext) -> None:
    """Push as the push mode says. If that fails, reset our target branch to the base."""
    config, run, mode = context.config, context.run, push_mode(context.config)
    repo = open_repository(config)
    if landing.is_through_forge(config):
        _land(context, repo)
        context.update_run(pushed=True)
        return
    if not is_in_target_branch(config, run):
        merge(context)  # an earlier attempt failed and was interrupted after it undid the merge
    context.write_log(f"push mode {mode}: {run.candidate_sha} to {config.target_branch}")
    since = log_files.read_size(context.log)
    if mode != PushMode.MANUAL and not _push_and_verify(
        context, repo, is_dry=mode == PushMode.DRY_RUN
    ):
        _undo_failed_push(context, repo, context.read_log_tail(LOG_LINES, since))
    if mode == PushMode.AUTO:
        context.update_run(pushed=True)
    else:
        context.update_run(pushed=False, next_action=recovery_commands.PUSH_COMMAND)


def _land(context: StepContext, repo: Repository) -> None:
    """Have the forge merge the pull request, and go on with the commit that landed.

    Repeated after a crash it finds what was merged. Raises PipelineRestart unless the remote has
    the candidate, which is then that commit.
    """
    config, run = context.config, context.run
    if _is_pushed(context, repo):
        return
    try:
        landed = landing.get_merger().find_merge(config, run)
        if not landed:
            if _has_remote_moved(context, repo):
                _reset_target_branch(config, run, repo)
                raise _restart(context, repo, f"the remote's {config.target_branch} moved")
            context.record_event("progress", "the forge is asked to merge the pull request")
            landed = landing.get_merger().merge(config, run)
    except Refused as refused:
        _reset_target_branch(config, run, repo)
        raise StepFailed("DEPLOY_PUSH_FAILED", f"Nothing is deployed. {refused.detail}") from None
    try:
        repo.fetch(config.git_remote_url)
        same = repo.get_tree_id(repo.require_commit(landed)) == repo.get_tree_id(run.candidate_sha)
    except Refused as refused:
        _reset_target_branch(config, run, repo)
        detail = f"The forge merged it as {landed[:12]}; nothing is deployed. {refused.detail}"
        raise StepFailed("DEPLOY_PUSH_FAILED", detail) from None
    files = "the files that were verified" if same else "other files, which are verified now"
    text = f"the forge merged it as {landed[:12]}, with {files}"
    context.record_event(landing.LANDED, text, commit=landed, head=run.commit_sha)
    _reset_target_branch(config, run, repo)
    raise _restart(context, repo, text)


def _push_and_verify(context: StepContext, repo: Repository, *, is_dry: bool) -> bool:
    """Push. If git does not report success, ask the remote whether it has the commit."""
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
        context.write_log(refused.detail)
        return False
    context.raise_if_stopping()
    if outcome.exit_code == 0:
        return True
    context.write_log(f"the push {outcome.failure}")  # after what git said, if it said anything
    is_pushed = wait_until(
        lambda: _is_pushed(context, repo),
        seconds=SETTLE_SECONDS if outcome.timed_out else 0.0,
        interval=PROBE_INTERVAL_SECONDS,
        stop=context.is_stopping,
    )
    context.raise_if_stopping()
    return is_pushed


def _undo_failed_push(context: StepContext, repo: Repository, output: str) -> None:
    """Undo the merge; restart at the candidate if the remote's branch moved, else fail.

    `output` is what git said of the push.
    """
    config, run = context.config, context.run
    cause = explain_remote_error(output, config, push_url(config))
    # Also if it is unknown whether the push arrived: the next candidate follows the remote, and a
    # retry finds its commit merged and deploys it (docs/decisions/0009).
    _reset_target_branch(config, run, repo)
    context.write_log(f"{config.target_branch} is back at {run.base_sha}")
    if _has_remote_moved(context, repo):
        raise _restart(context, repo, f"the remote's {config.target_branch} moved before the push")
    raise StepFailed(
        "DEPLOY_PUSH_FAILED",
        f"The remote did not accept {run.candidate_sha[:12]}; nothing is merged or deployed.\n"
        f"{cause}",
        next_action="\n".join(recovery_commands.commands_after_push(config, run, context.log)),
    )


def probe_push(context: StepContext) -> StepResult:
    """Return whether the commit is pushed: from the row, else by ancestry on the remote."""
    config, run = context.config, context.run
    if push_mode(config) != PushMode.AUTO:
        return {"pushed": False} if run.pushed is False else None
    if run.pushed is not True:
        if not _is_pushed(context, open_repository(config)):
            return None
        context.update_run(pushed=True)
    return {"pushed": True}


def _is_pushed(context: StepContext, repo: Repository) -> bool:
    """Return whether the remote's branch contains the candidate; False if it does not answer."""
    head = fetch_remote_head(context.config, repo, context.write_log)
    return head is not None and repo.is_ancestor(context.run.candidate_sha, head)


def _has_remote_moved(context: StepContext, repo: Repository) -> bool:
    """Return whether the candidate is no fast-forward of the remote's branch.

    False if the remote does not answer.
    """
    run, head = context.run, fetch_remote_head(context.config, repo, context.write_log)
    # A remote that contains the candidate has not moved away: an earlier push arrived.
    return head is not None and not (
        repo.is_ancestor(head, run.base_sha) or repo.is_ancestor(run.candidate_sha, head)
    )


def fetch_remote_head(
    config: Config, repo: Repository, log_error: Callable[[str], object]
) -> str | None:
    """Fetch the target branch's head from the remote that we push to, and return its id.

    Returns None, after a call of `log_error`, if the remote does not answer.
    """
    url = push_url(config)
    try:
        head = repo.read_remote_head(url, config.target_branch)
        # Callers ask for ancestry, for which the commit must be here. The branches as last fetched
        # stay: the remote of the push may be another one.
        if head is not None and not repo.has_commit(head):
            repo.fetch_ref(url, f"heads/{config.target_branch}")
    except Refused as refused:
        log_error(refused.detail)
        return None
    return head


def _reset_target_branch(config: Config, run: Run, repo: Repository) -> None:
    """Reset our target branch to the base, so that the next run does not ship this one as well."""
    if run.base_sha != run.candidate_sha:
        repo.update_ref(target_ref(config), run.base_sha, run.candidate_sha)


def remove_from_target_branch(config: Config, run: Run) -> bool:
    """Remove the candidate of a run that failed before its deploy from our target branch.

    It stays if the remote has it. Returns whether our target branch is without it now.
    """
    if run.base_sha == run.candidate_sha:
        return True
    repo = open_repository(config)
    try:
        if is_in_target_branch(config, run) and run.pushed is not True:
            head = fetch_remote_head(config, repo, log.warning)
            if head is None or not repo.is_ancestor(run.candidate_sha, head):
                _reset_target_branch(config, run, repo)
        return not is_in_target_branch(config, run)
    except Refused as refused:
        log.warning(
            "the commit of run %s stays in %s: %s", run.pk, config.target_branch, refused.detail
        )
        return False


def list_unpushed_runs(config: Config) -> RunQuerySet:
    """Return the runs, merged or failed in their deploy, whose commit is ours and not pushed."""
    ended = Run.objects.filter(pushed=False, status__in=(Status.MERGED, Status.FAILED))
    ours = ended.exclude(candidate_sha="")
    candidates = set(ours.values_list("candidate_sha", flat=True))
    repo = open_repository(config)
    head = repo.resolve_ref(target_ref(config)) if candidates else None
    # A person may have reset a branch that diverged, and a restored repository may be older.
    contained = repo.filter_contained(head, candidates) if head is not None else set()
    return ours.filter(candidate_sha__in=contained)


CANDIDATE = "the candidate's ref on the present head of the target branch"
GATE_NOTE = "the note of {candidate} in the run's folder of var/gates"
RELEASE = "a complete build of {candidate}"
MERGE = "{candidate} in our target branch"
PUSH = "{candidate} in the remote's target branch"
DEPLOYMENT = "this run's deployment, switched and not undone,"

STEPS = (
    PipelineStep("candidate", make_candidate, probe_candidate, effect=CANDIDATE),
    PipelineStep(
        "migrations", merge_gate.migrate_candidate, merge_gate.probe_migrations, effect=GATE_NOTE
    ),
    PipelineStep("release", merge_gate.build_release, merge_gate.probe_release, effect=RELEASE),
    # Before the checks, which may change the migrated database and drop it at their end.
    PipelineStep("start", release_start.start_release, release_start.probe_start, effect=GATE_NOTE),
    PipelineStep("checks", merge_gate.run_checks, merge_gate.probe_checks, effect=GATE_NOTE),
    PipelineStep("merge", merge, probe_merge, is_irreversible=True, effect=MERGE),
    PipelineStep(
        "push", push, probe_push, "deploy_git_push_log", is_irreversible=True, effect=PUSH
    ),
    PipelineStep(
        "deploy",
        deployment.activate_release,
        deployment.probe_deployment,
        deployment.RELOAD_LOG,
        status_on_start=Status.DEPLOYING,
        is_irreversible=True,
        effect=DEPLOYMENT,
    ),
    PipelineStep(
        "health",
        deployment.run_health_gate,
        deployment.probe_health_gate,
        deployment.RELOAD_LOG,
        is_irreversible=True,
        effect=DEPLOYMENT,
    ),
)
