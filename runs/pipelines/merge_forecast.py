"""What merging a run's commit into the target branch would give, before a person approves it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import takewhile
from typing import Any

from host.errors import Refused
from host.git.bare_repository import Repository
from host.git.checkout_notes import name_files
from runs.approvals.requirements import compute_requirements
from runs.engine.step_context import StepContext
from runs.models import Run
from runs.repository import find_preview_base
from runs.rules import Status

TOPIC = "merge"  # of the run's notes
CONFLICTS = 100  # of the names that are stored


class MergeOutcome(StrEnum):
    """What a merge gives."""

    MERGES = "merges"
    CONFLICTS = "conflicts"
    CONTAINED = "contained"  # the target branch contains the commit
    UNCHANGED = "unchanged"  # a merge would not change a file of the target branch
    UNRELATED = "unrelated"  # no common history


# The code with which an approval is refused.
OBSTACLES = {
    MergeOutcome.UNRELATED: "unrelated_history",
    MergeOutcome.CONTAINED: "nothing_to_ship",
    MergeOutcome.UNCHANGED: "nothing_to_ship",
}


@dataclass(frozen=True)
class MergeForecast:
    """The outcome of merging a commit into `base`, and the files that conflict.

    `reverted` are commits of it that `base` has reverted, which a merge does not bring back.
    """

    outcome: MergeOutcome
    base: str
    conflicts: Sequence[str] = field(default_factory=tuple)
    reverted: Sequence[str] = ()


def forecast_merge(repo: Repository, base: str, commit: str) -> MergeForecast:
    """Return what merging `commit` into `base` gives. No ref and no commit is made."""
    if repo.find_merge_base(base, commit) is None:
        return MergeForecast(MergeOutcome.UNRELATED, base)
    if repo.is_ancestor(commit, base):
        return MergeForecast(MergeOutcome.CONTAINED, base)
    merged = repo.merge_trees(base, commit)
    if merged.tree_id is None:
        return MergeForecast(MergeOutcome.CONFLICTS, base, merged.conflicts)
    if merged.tree_id == repo.get_tree_id(base):
        return MergeForecast(MergeOutcome.UNCHANGED, base)
    return MergeForecast(MergeOutcome.MERGES, base, reverted=repo.list_reverted(base, commit))


def describe_forecast(forecast: MergeForecast, target: str, commit: str) -> str:
    """Return what a reviewer should know of the merge; "" if it merges whole."""
    name = f"{target} ({forecast.base[:12]})"
    return {
        MergeOutcome.MERGES: describe_reverted(name, forecast.reverted),
        MergeOutcome.CONFLICTS: (
            f"Merging this commit into {name} conflicts in {name_files(forecast.conflicts)}. "
            f"Merge {target} into the branch, resolve the conflicts and push before approving."
        ),
        MergeOutcome.CONTAINED: (
            f"{name} contains this commit: there is nothing to ship. To ship a change again that "
            "was reverted there, revert the revert on the branch."
        ),
        MergeOutcome.UNCHANGED: describe_unchanged(name, commit),
        MergeOutcome.UNRELATED: describe_unrelated(name, commit),
    }[forecast.outcome]


def describe_unchanged(target: str, commit: str) -> str:
    """Return that a merge would change no file of the target branch, and why that can be."""
    return (
        f"{target} has the changes of {commit[:12]} already, as after a squash merge or a "
        "cherry-pick: there is nothing to ship."
    )


def describe_reverted(target: str, reverted: Sequence[str]) -> str:
    """Return that a merge ships only a part, and how the rest ships; "" if nothing was reverted."""
    if not reverted:
        return ""
    names = name_files([commit[:12] for commit in reverted])
    return (
        f"{target} has reverted {names}, which this commit contains: the preview shows these "
        "changes, and a merge does not bring them back. To ship them again, merge the target "
        "branch into the branch and revert the revert there (git revert <the revert>)."
    )


def describe_unrelated(target: str, commit: str) -> str:
    """Return that the two histories cannot be merged, and what to do instead."""
    return (
        f"{commit[:12]} shares no history with {target}, so it cannot be merged or approved. "
        f"{advise_on_unrelated(commit)}"
    )


def advise_on_unrelated(commit: str) -> str:
    """Return how the files of a commit with another history can be shipped."""
    return (
        "To ship its files, commit them on a branch of the target branch: git switch -c <name> "
        f"<target branch> && git restore --source={commit[:12]} --staged --worktree . && git commit"
    )


def set_commit_notes(context: StepContext, repo: Repository, left_out: Sequence[str]) -> None:
    """Set the run's notes on its commit: what its files lack, and what its merge gives."""
    run, target = context.run, context.config.target_branch
    context.set_notes(left_out)
    forecast = forecast_run(repo, run, target)
    context.set_notes(list_merge_notes(forecast, run, target), topic=TOPIC)
    context.update_run(merge_forecast=to_json(repo, forecast, run))


def list_merge_notes(forecast: MergeForecast, run: Run, target: str) -> list[str]:
    """Return the run's notes on its merge into the target branch."""
    note = describe_forecast(forecast, target, run.commit_sha)
    return [note] if note else []


def to_json(repo: Repository, forecast: MergeForecast, run: Run) -> dict[str, Any]:
    """Return the forecast as `Run.merge_forecast` has it, bound to the commit and to the base."""
    stored = run.merge_forecast
    is_same = (stored.get("commit"), stored.get("base")) == (run.commit_sha, forecast.base)
    known = stored.get("approval") if is_same else None
    is_same_commit = stored.get("commit") == run.commit_sha
    return {
        "approval": known or compute_requirements(repo, run, forecast.base),
        "changed_parts": stored.get("changed_parts", []) if is_same_commit else [],
        "commit": run.commit_sha,
        "base": forecast.base,
        "outcome": forecast.outcome,
        "conflicts": list(forecast.conflicts[:CONFLICTS]),
    }


def find_obstacle(repo: Repository, run: Run, target: str) -> Refused | None:
    """Return why the run's commit cannot ship, as last fetched; None if it can.

    A conflict is none: the target branch may move until the run ships.
    """
    return _describe_obstacle(forecast_run(repo, run, target), run, target)


def find_known_obstacle(run: Run, target: str) -> Refused | None:
    """Return the same by the forecast that is stored for the run's present commit; runs no git."""
    stored = run.merge_forecast
    if stored.get("commit") != run.commit_sha:
        return None
    known = MergeForecast(MergeOutcome(stored["outcome"]), stored["base"])
    return _describe_obstacle(known, run, target)


def _describe_obstacle(forecast: MergeForecast, run: Run, target: str) -> Refused | None:
    code = OBSTACLES.get(forecast.outcome)
    return Refused(code, describe_forecast(forecast, target, run.commit_sha)) if code else None


def forecast_run(repo: Repository, run: Run, target: str) -> MergeForecast:
    """Return what shipping the run gives, as last fetched.

    A commit that is only deployed again merges.
    """
    base = find_preview_base(repo, target)
    forecast = forecast_merge(repo, base, run.commit_sha)
    is_contained = forecast.outcome == MergeOutcome.CONTAINED
    if is_contained and is_retry_of_failed_deploy(run, repo, base):
        return MergeForecast(MergeOutcome.MERGES, base)
    return forecast


def is_retry_of_failed_deploy(run: Run, repo: Repository, base: str) -> bool:
    """Return whether a run that this one retries merged the commit into `base` and failed later.

    False if that merge was reverted since, or if a retry of it was merged: then there is nothing to
    deploy again.
    """
    failed = takewhile(lambda ancestor: ancestor.status != Status.MERGED, run.list_ancestors())
    return any(
        ancestor.commit_sha == run.commit_sha
        # A run that only deployed again merged nothing itself.
        and ancestor.candidate_sha not in ("", ancestor.base_sha)
        and repo.filter_contained(base, [ancestor.candidate_sha])
        and not _is_reverted(repo, ancestor, base)
        for ancestor in failed
    )


def _is_reverted(repo: Repository, merged: Run, base: str) -> bool:
    """Return whether every file that the run's merge changed is in `base` as before the merge."""
    changed = set(repo.list_changed_files(merged.base_sha, merged.candidate_sha))
    return bool(changed) and changed.isdisjoint(repo.list_changed_files(merged.base_sha, base))
