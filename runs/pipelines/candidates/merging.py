"""Merges a run's commit into the base, in the object database."""

from dataclasses import dataclass
from datetime import datetime

from host.git.bare_repository import Author, Repository
from host.visible_text import make_line_visible
from runs import landing
from runs.engine.step_context import StepContext
from runs.engine.step_errors import StepFailed, StepStopped
from runs.pipelines import merge_forecast
from runs.repository import check_settings, find_base


class NewCommit(StepStopped):
    """The branch has a new commit: what was approved, or is checked, is not its head any more."""

    def __init__(self, sha: str) -> None:
        super().__init__(sha)
        self.sha = sha


@dataclass(frozen=True)
class Signature:
    """What a merge commit says besides its title: who merged, when, and the trailers' lines."""

    name: str
    at: datetime
    trailers: str = ""


def fetch_target(context: StepContext, repo: Repository) -> tuple[str, str | None]:
    """Fetch, and return the base of a candidate and our own ref's commit (`find_base`).

    Raises NewCommit if the branch has another commit, and Refused.
    """
    config, run = context.config, context.run
    check_settings(config)
    repo.fetch(config.git_remote_url)
    head = repo.find_branch_head(run.branch) if run.branch else None
    if head is not None and head != run.commit_sha and not landing.find_landed(run):
        raise NewCommit(head)
    return find_base(repo, config.target_branch)


def merge_into_base(context: StepContext, repo: Repository, base: str, signature: Signature) -> str:
    """Return the merge of the run's commit, or the base if it is only deployed again.

    Raises StepFailed MERGE_CONFLICT, NOTHING_TO_SHIP.
    """
    run = context.run
    landed = landing.find_landed(run)
    if landed and repo.is_ancestor(landed, base):
        context.write_log(f"the forge merged it as {landed}; {base} is deployed")
        return base
    if repo.is_ancestor(run.commit_sha, base):
        _check_redeployment(context, repo, base)
        return base
    target = context.config.target_branch
    if repo.find_merge_base(base, run.commit_sha) is None:
        detail = merge_forecast.describe_unrelated(target, run.commit_sha)
        advice = merge_forecast.advise_on_unrelated(run.commit_sha)
        raise StepFailed("MERGE_CONFLICT", detail, next_action=advice)
    source = run.branch or run.commit_sha[:12]
    merge = repo.create_merge_commit(
        base,
        run.commit_sha,
        message=f"Merge {source}: {run.title}\n\n{signature.trailers}Run: {run.pk}\n",
        author=Author(signature.name, "oroboros@localhost"),
        at=signature.at,
    )
    if merge.commit_sha is None:
        names = "\n".join(map(make_line_visible, merge.conflicts))
        context.write_log(f"conflicts:\n{names}")
        raise StepFailed("MERGE_CONFLICT", f"Both sides changed:\n{names}")
    if repo.get_tree_id(merge.commit_sha) == repo.get_tree_id(base):
        raise StepFailed(
            "NOTHING_TO_SHIP", merge_forecast.describe_unchanged(target, run.commit_sha)
        )
    return merge.commit_sha


def _check_redeployment(context: StepContext, repo: Repository, base: str) -> None:
    """Raise StepFailed unless the commit, which is merged already, is to be deployed again."""
    run = context.run
    if not merge_forecast.is_retry_of_failed_deploy(run, repo, base):
        raise StepFailed(
            "NOTHING_TO_SHIP",
            f"{context.config.target_branch} contains {run.commit_sha} already. To ship a change "
            "again that was reverted there, revert the revert on the branch.",
        )
    context.write_log("the commit is merged already; it is deployed again")
