"""Pushing the target branch at a person's request: the default push mode leaves it to people.

With the credentials, the known hosts and the user of the worker, which a person's own git lacks.
"""

from dataclasses import dataclass

from host.config import Config
from host.errors import Refused
from host.files import log_files, safe_files
from host.git.bare_repository import Repository
from host.git.remote_errors import explain_remote_error
from host.git.validation import validate_sha
from runs.engine.events import record_event
from runs.lifecycle import branch_watch
from runs.pipelines import shipping
from runs.repository import open_repository, push_seconds, push_url

# What git printed about pushes by people.
LOG_NAME = "push.log"
LOG_LINES = 30


@dataclass(frozen=True)
class PushResult:
    """A push that the remote accepted, or would accept (`dry_run`)."""

    commit: str
    branch: str
    remote: str
    dry_run: bool
    already_there: bool = False

    def __str__(self) -> str:
        if self.already_there:
            return f"{self.branch} of {self.remote} has {self.commit[:12]} already."
        now = "would accept" if self.dry_run else "has"
        return f"{self.remote} {now} {self.commit[:12]} as {self.branch}."


def push_target_branch(
    config: Config, *, actor: str, dry_run: bool = False, commit: str = ""
) -> PushResult:
    """Push our target branch to the remote, fast-forward only. May be repeated.

    With `commit`, which needs `dry_run`, ask whether the remote would accept that commit. Raises
    Refused `commit_needs_dry_run`, `target_unknown`, `push_failed` with the cause and what repairs
    it, and as the settings of pushes do.
    """
    if commit and not dry_run:
        detail = "Only the target branch is pushed: leave out the commit, or add --dry-run."
        raise Refused("commit_needs_dry_run", detail, status=400)
    repo = open_repository(config)
    result = PushResult(_find_commit(config, repo, commit), config.target_branch, push_url(config),
                        dry_run)  # fmt: skip
    if repo.read_remote_head(result.remote, result.branch) == result.commit:
        result = PushResult(result.commit, result.branch, result.remote, dry_run, True)
    else:
        _push(config, repo, result)
        tried = "tried the push of" if dry_run else "pushed"
        record_event("pushed_by_hand", f"{tried} {result.commit[:12]}", actor=actor)
    if not dry_run:
        branch_watch.record_pushed_commits(config, repo)
    return result


def _find_commit(config: Config, repo: Repository, commit: str) -> str:
    if commit:
        return repo.require_commit(validate_sha(commit))
    head = repo.resolve_ref(shipping.target_ref(config))
    if head is None:
        detail = f"This host has no {config.target_branch} yet: nothing was merged here."
        raise Refused("target_unknown", detail)
    return head


def _push(config: Config, repo: Repository, result: PushResult) -> None:
    log = config.var / "log" / LOG_NAME
    since = log_files.read_size(log)
    outcome = repo.push(
        result.remote,
        result.commit,
        result.branch,
        log=log,
        timeout=push_seconds(config),
        dry_run=result.dry_run,
    )
    if outcome.exit_code != 0:
        text = safe_files.read_tail(log, LOG_LINES, since)
        cause = explain_remote_error(text, config, result.remote) or outcome.failure
        raise Refused("push_failed", f"{result.remote} did not accept the push: {cause}")
