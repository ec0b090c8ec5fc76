"""The control plane's repository, into which commits are fetched and where they are merged."""

import shlex

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository, get_repository
from host.git.validation import validate_ref, validate_remote
from host.operator_settings import run_time
from releases.production.deploy_settings import DeploySettings
from runs import landing
from runs.engine.step_errors import StepFailed
from runs.rules import UNFREEZE_COMMAND, PushMode, choose_base


def open_repository(config: Config) -> Repository:
    """Return the repository; it is created if it is missing."""
    repo = get_repository(config)
    repo.create_if_missing()
    return repo


def push_mode(config: Config) -> PushMode:
    """Return MERGE_GATE_GIT_PUSH_MODE; `manual` if it is not set. Raises Refused."""
    mode = run_time.read_text(config, run_time.PUSH_MODE)
    if mode not in PushMode.values:
        known = ", ".join(PushMode.values)
        raise Refused("setting_invalid", f"MERGE_GATE_GIT_PUSH_MODE is one of {known}: {mode!r}.")
    return PushMode(mode)


def push_url(config: Config) -> str:
    """Return the remote to push to: MERGE_GATE_GIT_PUSH_REMOTE, else the one we fetch from."""
    return config.get("MERGE_GATE_GIT_PUSH_REMOTE", config.git_remote_url)


def push_seconds(config: Config) -> float:
    """Return how many seconds a push may take. Raises Refused."""
    return config.get_seconds("MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS", 60, allows_none=False)


def check_settings(config: Config) -> None:
    """Read every setting of shipping, so that a wrong one is refused before anything is merged.

    Raises Refused with the setting's name in the detail.
    """
    landing.check_settings(config, is_pushed=push_mode(config) == PushMode.AUTO)
    push_seconds(config)
    for name, check in (
        ("MERGE_GATE_GIT_PUSH_BRANCH", lambda: validate_ref(config.target_branch)),
        ("MERGE_GATE_GIT_PUSH_REMOTE", lambda: validate_remote(push_url(config), config)),
    ):
        try:
            check()
        except Refused as refused:
            raise Refused("setting_invalid", f"{name}: {refused.detail}") from None
    DeploySettings.read(config)


def find_base(repo: Repository, target: str) -> tuple[str, str | None]:
    """Return the commit a candidate is based on and our own ref's, both as last fetched.

    Raises StepFailed MAIN_DIVERGED with the commands that show both sides, and Refused
    `target_unknown` if neither side has the branch.
    """
    ours, theirs = _resolve_target(repo, target)
    both = bool(ours and theirs)
    ours_in_theirs = both and repo.is_ancestor(ours or "", theirs or "")
    # Asked only if the first answer is no: each question starts a git process.
    theirs_in_ours = both and not ours_in_theirs and repo.is_ancestor(theirs or "", ours or "")
    base = choose_base(ours, theirs, ours_in_theirs=ours_in_theirs, theirs_in_ours=theirs_in_ours)
    if base is None:
        raise StepFailed(
            "MAIN_DIVERGED",
            f"{target} here is {ours}, the remote's is {theirs}, and neither contains the other.",
            next_action="\n".join(_divergence_commands(repo, target, ours or "", theirs or "")),
        )
    return base, ours


def _divergence_commands(repo: Repository, target: str, ours: str, theirs: str) -> list[str]:
    """Return what a person can do if both sides have commits of their own."""
    git, push = f"git --git-dir={shlex.quote(str(repo.path))}", shlex.quote(push_url(repo.config))
    ours_path = shlex.quote(str(repo.path))
    head, target = shlex.quote(f"refs/heads/{target}"), shlex.quote(target)
    return [
        f"To look: {git} log --oneline --left-right {ours}...{theirs}",
        f"To keep both, in a clone of the remote: git fetch {ours_path} {target} && git switch -c"
        f" both-{ours[:12]} FETCH_HEAD && git fetch {push} {target} && git merge FETCH_HEAD"
        f" && git push {push} HEAD:{head}",
        "To take the remote's and drop ours, of which some may be live:"
        f" {git} update-ref {head} {theirs} {ours}",
        f"Then retry the run; to ship the other runs without it: {UNFREEZE_COMMAND}",
    ]


def find_preview_base(repo: Repository, target: str) -> str:
    """Return the commit whose template previews get: the base, or the remote's if both diverged."""
    try:
        return find_base(repo, target)[0]
    except StepFailed:
        ours, theirs = _resolve_target(repo, target)
        return theirs or ours or ""


def _resolve_target(repo: Repository, target: str) -> tuple[str | None, str | None]:
    """Return our commit of the target branch and the remote's, as last fetched."""
    ours, theirs = repo.resolve_refs(f"refs/heads/{target}", f"refs/remotes/origin/{target}")
    if ours is None and theirs is None:
        raise Refused(
            "target_unknown",
            f"The git remote has no branch {target}: push it first, or set "
            "MERGE_GATE_GIT_PUSH_BRANCH to the branch that runs are merged into.",
        )
    return ours, theirs
