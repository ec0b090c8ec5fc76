"""The commands with which a person recovers from a failure in shipping, filled in for the run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from host.config import Config
from runs.models import Run
from runs.rules import UNFREEZE_COMMAND

# --noproxy: the shell's proxy must not get requests to this host's own ports.
POST = "curl --noproxy '*' -fsS -X POST -H 'Content-Type: application/json'"


# With the configured credentials, known hosts and user, which a person's git does not have.
PUSH_COMMAND = "./scripts/push.sh"


def dry_push_command(run: Run) -> str:
    """Return the command that tries the push of a run's candidate, which is merged no more."""
    return f"{PUSH_COMMAND} --dry-run --commit {run.candidate_sha}"


def retry_command(config: Config, run: Run) -> str:
    """Return the command that retries the run."""
    return f"{POST} -d '{{}}' http://127.0.0.1:{config.api_port}/api/runs/{run.pk}/retry"


def commands_after_push(config: Config, run: Run, log: Path) -> list[str]:
    """Return what to do after a refused push: find out why, then retry. Nothing was merged."""
    tail = shlex.join(["tail", "-n", "50", str(log)])
    return [tail, dry_push_command(run), retry_command(config, run)]


def commands_after_deploy(config: Config, run: Run, lines: Sequence[str]) -> list[str]:
    """Return what to do after a failed deploy, which freezes shipping: retry, revert or unfreeze.

    `lines` are the deployment's own recommendations. The push, if it was not made, comes first,
    because the commit is reverted on the remote's branch.
    """
    return [
        *_push_first(run),
        *lines,
        f"To try again, or a newer commit of the branch: {retry_command(config, run)}",
        *_revert_commands(config, run),
        f"To ship the other runs: {UNFREEZE_COMMAND}",
    ]


def _push_first(run: Run) -> list[str]:
    if run.pushed:
        return []
    return [f"The remote does not have it yet; push it before you revert it: {PUSH_COMMAND}"]


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
