"""The control plane's own repository, where runs' commits are fetched to and merged."""

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from host.git.git_commands import validate_ref, validate_remote
from releases.deployments.hooks import Hooks
from runs.engine.step_context import StepFailed
from runs.rules import UNFREEZE, PushMode, base_of


def repository(config: Config) -> Repository:
    """Return it, made if it is not there."""
    found = Repository(config.var / "repo.git", config)
    found.ensure()
    return found


def push_mode(config: Config) -> PushMode:
    """Return MERGE_GATE_GIT_PUSH_MODE; `manual` if it is not set. Raises Refused."""
    word = config.get("MERGE_GATE_GIT_PUSH_MODE", PushMode.MANUAL)
    if word not in PushMode.values:
        known = ", ".join(PushMode.values)
        raise Refused("setting_invalid", f"MERGE_GATE_GIT_PUSH_MODE is one of {known}: {word!r}.")
    return PushMode(word)


def push_url(config: Config) -> str:
    """Return where to push: MERGE_GATE_GIT_PUSH_REMOTE, else where we fetch from."""
    return config.get("MERGE_GATE_GIT_PUSH_REMOTE", config.git_remote_url)


def push_seconds(config: Config) -> float:
    """Return how long a push may take. Raises Refused."""
    return config.seconds("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS", 60, allows_none=False)


def check_settings(config: Config) -> None:
    """Read all that shipping is configured with: what is wrong is said before anything is merged.

    Raises Refused with the setting's name in the detail.
    """
    push_mode(config)
    push_seconds(config)
    for name, check in (
        ("MERGE_GATE_GIT_PUSH_BRANCH", lambda: validate_ref(config.target_branch)),
        ("MERGE_GATE_GIT_PUSH_REMOTE", lambda: validate_remote(push_url(config), config)),
    ):
        try:
            check()
        except Refused as refused:
            raise Refused("setting_invalid", f"{name}: {refused.detail}") from None
    Hooks.read(config)


def find_base(repo: Repository, target: str) -> tuple[str, str | None]:
    """Return the commit a candidate is based on and our own ref's, both as last fetched.

    Raises StepFailed MAIN_DIVERGED with the commands that show both sides, Refused
    `target_unknown` where neither side has the branch.
    """
    ours, theirs = _both(repo, target)
    both = bool(ours and theirs)
    ours_in_theirs = both and repo.is_ancestor(ours or "", theirs or "")
    # Where that is so, the other way round decides nothing more.
    theirs_in_ours = both and not ours_in_theirs and repo.is_ancestor(theirs or "", ours or "")
    base = base_of(ours, theirs, ours_in_theirs=ours_in_theirs, theirs_in_ours=theirs_in_ours)
    if base is None:
        raise StepFailed(
            "MAIN_DIVERGED",
            f"{target} here is {ours}, the remote's is {theirs}, and neither contains the other.",
            next_action="\n".join(_both_ways(repo, target, ours or "", theirs or "")),
        )
    return base, ours


def _both_ways(repo: Repository, target: str, ours: str, theirs: str) -> list[str]:
    """Say what a person does where both sides have commits of their own."""
    git, push = f"git --git-dir={repo.path}", push_url(repo.config)
    return [
        f"Look: {git} log --oneline --left-right {ours}...{theirs}",
        f"To keep both, in a clone of the remote: git fetch {repo.path} {target} && git switch -c"
        f" both-{ours[:12]} FETCH_HEAD && git fetch {push} {target} && git merge FETCH_HEAD"
        f" && git push {push} HEAD:refs/heads/{target}",
        "To take the remote's and drop ours, of which some may be live:"
        f" {git} update-ref refs/heads/{target} {theirs} {ours}",
        f"Then retry the run; to ship the others on without it: {UNFREEZE}",
    ]


def shown_base(repo: Repository, target: str) -> str:
    """Return the commit whose template a preview gets: as find_base, the remote's if diverged."""
    try:
        return find_base(repo, target)[0]
    except StepFailed:
        ours, theirs = _both(repo, target)
        return theirs or ours or ""


def _both(repo: Repository, target: str) -> tuple[str | None, str | None]:
    ours, theirs = repo.heads(f"refs/heads/{target}", f"refs/remotes/origin/{target}")
    if ours is None and theirs is None:
        raise Refused("target_unknown", f"The git remote has no branch {target}: push it first.")
    return ours, theirs
