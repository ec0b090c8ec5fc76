"""The control plane's own repository, where runs' commits are fetched to and merged."""

from oroboros.lib.config import Config
from oroboros.lib.git import Repository
from runs.journal import StepFailed
from runs.rules import base_of


def repository(config: Config) -> Repository:
    """Return it, made if it is not there."""
    found = Repository(config.var / "repo.git", config)
    found.ensure()
    return found


def find_base(repo: Repository, target: str) -> tuple[str, str | None]:
    """Return the commit a candidate is based on and our own ref's, both as last fetched.

    Raises StepFailed MAIN_DIVERGED with the commands that show both sides.
    """
    ours, theirs = repo.head(f"refs/heads/{target}"), repo.branch_sha(target)
    ours_in_theirs = bool(ours and theirs) and repo.is_ancestor(ours or "", theirs or "")
    theirs_in_ours = bool(ours and theirs) and repo.is_ancestor(theirs or "", ours or "")
    base = base_of(ours, theirs, ours_in_theirs=ours_in_theirs, theirs_in_ours=theirs_in_ours)
    if base is None:
        look = f"git --git-dir={repo.path} log --oneline --left-right {ours}...{theirs}"
        accept = f"git --git-dir={repo.path} update-ref refs/heads/{target} {theirs} {ours}"
        raise StepFailed(
            "MAIN_DIVERGED",
            f"{target} here is {ours}, the remote's is {theirs}, and neither contains the other.",
            next_action=f"Look: {look}\nTo take the remote's: {accept}\nThen retry the run.",
        )
    return base, ours
