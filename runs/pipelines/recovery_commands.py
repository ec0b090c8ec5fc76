"""The commands with which a person recovers from a failure in shipping, filled in for the run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from host.config import Config
from host.git.bare_repository import get_repository
from runs.models import Run
from runs.repository import push_url
from runs.rules import UNFREEZE_COMMAND

# --noproxy: the shell's proxy must not get requests to this host's own ports.
POST = "curl --noproxy '*' -fsS -X POST -H 'Content-Type: application/json'"


def push_command(config: Config, commit: str, *options: str) -> str:
    """Return the command that pushes a commit of our repository without force, as we do."""
    words = ["git", f"--git-dir={get_repository(config).path}", "push", *options]
    return shlex.join([*words, push_url(config), f"{commit}:refs/heads/{config.target_branch}"])


def retry_command(config: Config, run: Run) -> str:
    """Return the command that retries the run."""
    return f"{POST} -d '{{}}' http://127.0.0.1:{config.api_port}/api/runs/{run.pk}/retry"


def commands_after_push(config: Config, run: Run, log: Path) -> list[str]:
    """Return what to do after a refused push: find out why, then retry. Nothing was merged."""
    dry = push_command(config, run.candidate_sha, "--dry-run")
    return [shlex.join(["tail", "-n", "50", str(log)]), dry, retry_command(config, run)]


def commands_after_deploy(config: Config, run: Run, lines: Sequence[str]) -> list[str]:
    """Return what to do after a failed deploy, which freezes shipping: retry, revert or unfreeze.

    `lines` are the deployment's own recommendations. The push, if it was not made, comes first,
    because the commit is reverted on the remote's branch.
    """
    return [
        *_push_first(config, run),
        *lines,
        f"To try again, or a newer commit of the branch: {retry_command(config, run)}",
        *_revert_commands(config, run),
        f"To ship the other runs: {UNFREEZE_COMMAND}",
    ]


def _push_first(config: Config, run: Run) -> list[str]:
    if run.pushed:
        return []
    command = push_command(config, run.candidate_sha)
    return [f"The remote does not have it yet; push it before you revert it: {command}"]


def _revert_commands(config: Config, run: Run) -> list[str]:
    """Return how to revert the run, together with the failed runs that it retried."""
    target, short = shlex.quote(f"origin/{config.target_branch}"), run.candidate_sha[:12]
    # A retry of the same commit merged nothing of its own.
    merges = [
        merged.candidate_sha
        for merged in run.list_merge_chain()
        if merged.candidate_sha != merged.base_sha
    ]
    if not merges:
        return []
    return [
        f"To revert it: git fetch && git switch -c revert-{short} {target} && git revert"
        f" -m 1 {' '.join(merges)}; push that branch, create a run of it and approve it"
    ]
