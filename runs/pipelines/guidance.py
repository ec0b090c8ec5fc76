"""What a person does next where shipping failed: the exact commands for this very case."""

from collections.abc import Sequence
from pathlib import Path

from host.config import Config
from runs.models import Run
from runs.repository import push_url
from runs.rules import UNFREEZE

POST = "curl -fsS -X POST -H 'Content-Type: application/json'"


def push_command(config: Config, commit: str, *options: str) -> str:
    """Return the command that pushes a commit of our repository as we do, never forced."""
    words = ["git", f"--git-dir={config.var / 'repo.git'}", "push", *options]
    return " ".join([*words, push_url(config), f"{commit}:refs/heads/{config.target_branch}"])


def retry(config: Config, run: Run) -> str:
    """Return the command that retries the run."""
    return f"{POST} -d '{{}}' http://127.0.0.1:{config.api_port}/api/runs/{run.pk}/retry"


def after_push(config: Config, run: Run, log: Path) -> list[str]:
    """Nothing was merged or deployed: find out what the remote has against it, then retry."""
    dry = push_command(config, run.candidate_sha, "--dry-run")
    return [f"tail -n 50 {log}", dry, retry(config, run)]


def after_deploy(config: Config, run: Run, lines: Sequence[str]) -> list[str]:
    """The branch keeps the commit and shipping is frozen: `lines`, then the three ways out.

    `lines` are what the activation says about the releases themselves. What we did not push comes
    before them: a revert is made on the remote's branch.
    """
    return [
        *_unpushed(config, run),
        *lines,
        f"To try again, or a newer commit of the branch: {retry(config, run)}",
        *_revert(config, run),
        f"To ship the others on: {UNFREEZE}",
    ]


def _unpushed(config: Config, run: Run) -> list[str]:
    if run.pushed:
        return []
    command = push_command(config, run.candidate_sha)
    return [f"The remote does not have it yet; push it before you take it back: {command}"]


def _revert(config: Config, run: Run) -> list[str]:
    """Say how the run is taken back, with those that it retried in vain."""
    target, short = config.target_branch, run.candidate_sha[:12]
    # A retry of the same commit merged nothing of its own.
    merges = [one.candidate_sha for one in run.chain() if one.candidate_sha != one.base_sha]
    if not merges:
        return []
    return [
        f"To take it back: git fetch && git switch -c revert-{short} origin/{target} && git revert"
        f" -m 1 {' '.join(merges)}; push that branch, make a run of it and approve it"
    ]
