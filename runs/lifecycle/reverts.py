"""A run that takes back on the target branch what a rollback took back in production."""

from core.clock import get_database_time
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Author, Repository
from runs.lifecycle import operations
from runs.models import Run
from runs.repository import find_preview_base, open_repository
from runs.rollback_state import RollbackState, read_rollback_state

REVERTS = "refs/oroboros/reverts"


def create_revert_run(config: Config, *, actor: str) -> tuple[Run, bool]:
    """Return the open run that gives the target branch the files of the live release, or a new one.

    Its commit is made here, on top of the target branch; it ships in spite of the rollback's
    freeze, and lifts it. The second value is whether the run is new. Raises Refused
    `not_rolled_back`, `nothing_to_revert`, and as `operations.request_run`.
    """
    state = read_rollback_state(config)
    if state is None:
        raise Refused("not_rolled_back", "Production is not behind the target branch.")
    repo, release = open_repository(config), state.release
    head = find_preview_base(repo, config.target_branch)
    if repo.get_tree_id(head) == repo.get_tree_id(release.commit_sha):
        detail = f"{config.target_branch} has the files of {release} already."
        raise Refused("nothing_to_revert", detail)
    commit = _find_or_create_commit(repo, state, config.target_branch, head, actor)
    title = f"Revert {config.target_branch} to {release.commit_sha[:12]}"
    return operations.request_run(title=title, commit=commit, actor=actor)


def _find_or_create_commit(
    repo: Repository, state: RollbackState, target: str, head: str, actor: str
) -> str:
    # Without a ref git's garbage collection could delete the commit, to which no branch leads.
    ref = f"{REVERTS}/{state.deployment.pk}-{head[:12]}"
    known = repo.resolve_ref(ref)
    if known is not None:
        return known
    commit = repo.create_commit_with_files_of(
        state.release.commit_sha,
        head,
        message=f"Revert {target} to {state.release.commit_sha[:12]}\n\n{state.describe(target)}\n",
        author=Author(actor, "oroboros@localhost"),
        at=get_database_time(),
    )
    # Of two requests at once one creates the ref; both then use its commit.
    return commit if repo.update_ref(ref, commit, None) else repo.resolve_ref(ref) or commit
