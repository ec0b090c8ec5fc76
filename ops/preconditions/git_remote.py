"""Asks the git remote what it is, before anything is started."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from host.git.remote_refs import (
    describe_partial_remote,
    describe_shallow_remote,
    explain_remote,
)
from host.masking.urls import hide_password

REMOTE_SECONDS = 30.0
PARTIAL = re.compile(r"^\s*(?:promisor\s*=\s*true|partialclone\s*=)", re.IGNORECASE | re.MULTILINE)


def find_remote_problems(config: Config) -> Iterator[str]:
    """Yield why the remote that GIT_REMOTE_URL names cannot be previewed, with what to do."""
    url = config.git_remote_url
    with tempfile.TemporaryDirectory(prefix="oroboros-remote-") as folder:
        # A repository of its own: a refused start leaves nothing in var.
        repository = Repository(Path(folder) / "repo.git", config)
        try:
            repository.create_if_missing()
            refs = repository.read_remote_refs(url, timeout=REMOTE_SECONDS)
        except Refused as refused:
            yield f"GIT_REMOTE_URL {hide_password(url)}: {refused.detail}"
            return
    problem = explain_remote(refs, url, config.target_branch)
    if problem:
        yield problem
    elif is_shallow(url):
        yield describe_shallow_remote(url)
    elif is_partial(url):
        yield describe_partial_remote(url)


def is_shallow(url: str) -> bool:
    """Return whether the remote is a shallow clone on this host; others say so when fetched."""
    if not url.startswith("/"):
        return False
    files = (Path(url, name, "shallow") for name in ("", ".git"))
    return any(file.is_file() and file.stat().st_size > 0 for file in files)


def is_partial(url: str) -> bool:
    """Return whether the remote is a partial clone on this host: it lacks files of its commits.

    Its configuration says from where git would fetch them (git-config(1), remote.<name>.promisor).
    """
    if not url.startswith("/"):
        return False
    files = (Path(url, name, "config") for name in ("", ".git"))
    return any(PARTIAL.search(file.read_text(errors="replace")) for file in files if file.is_file())
