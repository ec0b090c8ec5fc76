"""Checks of the git remote, and of the credentials for it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import get_repository
from host.git.remote_refs import explain_remote
from ops.doctor import findings
from ops.doctor.findings import Finding

COMMAND_SECONDS = 20.0


def check_credentials(config: Config) -> Iterator[Finding]:
    """Check that the credentials for git have a line for the remote's host."""
    url, path = config.git_remote_url, config.get("GIT_CREDENTIALS_FILE")
    if path and url.startswith("https://"):
        host = urlsplit(url).hostname or ""
        with suppress(OSError):  # reported by `secret_files`
            yield findings.judge_credentials(path, host, read_credential_hosts(Path(path)))


def read_credential_hosts(path: Path) -> list[str]:
    """Return the hosts that git's credential store has a line for. Raises OSError."""
    lines = path.read_text(errors="replace").splitlines()
    return [urlsplit(line).hostname or "" for line in lines if line.startswith("https://")]


def check_remote(config: Config) -> Iterator[Finding]:
    """Check that the git remote has the target branch, and explain one that has not."""
    url, branch = config.git_remote_url, config.target_branch
    repository = get_repository(config)
    error = ""
    if url:
        try:
            repository.create_if_missing()
            refs = repository.read_remote_refs(url, timeout=COMMAND_SECONDS)
            error = explain_remote(refs, url, branch)
        except Refused as refused:
            error = refused.detail
    yield findings.judge_git_remote(url, branch, bool(url) and not error, error)


def check_push_access(config: Config) -> Iterator[Finding]:
    """Check that a local repository that is pushed to can be written to.

    With the drop-ins, which `checks.check_installed_files` compares, the units then can as well.
    """
    url = config.get("MERGE_GATE_GIT_PUSH_REMOTE") or config.git_remote_url
    if url.startswith("/"):
        folders = [Path(url), Path(url, ".git")]
        objects = [folder / "objects" for folder in folders if (folder / "objects").is_dir()]
        can_write = any(os.access(path, os.W_OK | os.X_OK) for path in objects)
        problem = "" if can_write else f"the objects of {url} cannot be written"
        yield findings.judge_push_access(problem)
