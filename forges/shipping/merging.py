"""Merging a run's pull request by the forge's API: see `runs.landing`, whose `Merger` this is."""

from forges.adapters.forge import Forge, PullRequestFacts, PullRequestState
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings, require_forge_settings
from forges.models import PullRequest
from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from runs.models import Run

# A forge may still be working out whether a pull request can be merged, or lack our status of the
# merge gate, which its rules may ask for.
MERGE_SECONDS, TRY_SECONDS = 30.0, 2.0


def check(config: Config) -> None:
    """Raise Refused `setting_invalid` without a forge or a token."""
    settings = read_forge_settings(config)
    if settings is None or not settings.has_token:
        names = "SHIP_THROUGH=pull-request and SHIP_REQUIRED_CHECKS"
        detail = f"{names} need FORGE, and FORGE_TOKEN_FILE or FORGE_APP_ID: see docs/forges.md."
        raise Refused("setting_invalid", detail)


def find_merge(config: Config, run: Run) -> str:
    """Return the commit as which the run's pull request was merged; "" if it was not.

    Also "" if it was merged at another commit than the run's, as with an earlier pull request of
    the branch, or into another branch: `merge` then refuses it with the reason.
    """
    forge = create_forge(require_forge_settings(config))
    number = _find_number(forge, run)
    facts = forge.get_pull_request(number)
    wanted = (PullRequestState.MERGED, forge.settings.target_branch, run.commit_sha)
    if (facts.state, facts.base_branch, facts.head_sha) != wanted:
        return ""
    return forge.find_merge_commit(number)


def merge(config: Config, run: Run) -> str:
    """Merge the run's pull request at exactly its commit; returns the commit that landed.

    Raises ForgeFailed with what the forge says, Refused `not_mergeable`.
    """
    forge = create_forge(require_forge_settings(config))
    number = _find_number(forge, run)
    _check(forge.get_pull_request(number), run, forge.settings.target_branch)
    failures: list[ForgeFailed] = []

    def try_to_merge() -> str:
        try:
            forge.merge(number, run.commit_sha)
        except ForgeFailed as failed:
            failures.append(failed)
        try:
            return forge.find_merge_commit(number)  # also if the answer was lost
        except ForgeFailed as failed:
            unknown = f"Whether the forge has merged it is not known: {failed.detail}"
            failures.append(ForgeFailed(unknown))
            return ""

    landed = wait_until(try_to_merge, seconds=MERGE_SECONDS, interval=TRY_SECONDS)
    if landed:
        return landed
    raise failures[-1] if failures else ForgeFailed("The forge did not say what it merged.")


def _find_number(forge: Forge, run: Run) -> int:
    rows = PullRequest.objects.filter(
        forge=forge.settings.forge, repository=forge.settings.repository
    )
    ours = rows.filter(run=run) | rows.filter(head_branch=run.branch, is_fork=False).exclude(
        head_branch=""
    )
    newest = ours.order_by("-number")
    row = newest.filter(base_branch=forge.settings.target_branch).first() or newest.first()
    if row is None:
        detail = f"The run has no pull request: open one for {run.branch or 'its commit'}."
        raise Refused("not_mergeable", detail)
    return row.number


def _check(facts: PullRequestFacts, run: Run, target: str) -> None:
    name = f"Pull request #{facts.number}"
    if facts.state != PullRequestState.OPEN:
        raise Refused("not_mergeable", f"{name} is {facts.state}.")
    if facts.base_branch != target:
        raise Refused("not_mergeable", f"{name} is for {facts.base_branch}, not for {target}.")
    if facts.head_sha != run.commit_sha:
        detail = f"{name} is at {facts.head_sha[:12]}; {run.commit_sha[:12]} was approved."
        raise Refused("not_mergeable", detail)
