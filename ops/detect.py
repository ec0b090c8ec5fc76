"""Prints what is recognized in a folder or in the git remote's target branch; runs none of it."""

import json
import sys
import tempfile
from pathlib import Path

from host.app.inspection import report, table
from host.app.inspection.report import Report
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import get_repository
from ops import progress


def print_folder(config: Config, path: Path, *, as_json: bool) -> int:
    """Print the report on the folder; returns 1 if something in it or on this host is missing.

    Raises Refused `no_folder`.
    """
    if not path.is_dir():
        raise Refused("no_folder", f"{path} is no folder: give the path of an application's tree.")
    found = report.inspect_folder(config, path.resolve())
    lines = [json.dumps(found.as_dict())] if as_json else table.format_report(found)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 0 if found.is_complete else 1


def print_target_branch(config: Config) -> None:
    """Print the report on the remote's target branch to stderr, before anything is started.

    Raises Refused as `Repository.fetch`, `sha_unknown` if the remote has no such branch.
    """
    found = inspect_target_branch(config)
    progress.print_line(f"Recognized in {config.target_branch} of {config.git_remote_url}:")
    for line in table.format_report(found):
        progress.print_line(f"  {line}".rstrip())


def inspect_target_branch(config: Config) -> Report:
    """Return the report on the remote's target branch, as it is fetched now."""
    repository = get_repository(config)
    repository.create_if_missing()
    repository.fetch(config.git_remote_url)
    commit = repository.find_branch_head(config.target_branch)
    if commit is None:
        detail = f"{config.git_remote_url} has no branch {config.target_branch}: push it first."
        raise Refused("sha_unknown", detail)
    with tempfile.TemporaryDirectory(prefix="oroboros-detect-") as folder:
        tree = Path(folder) / "tree"
        repository.export_commit(commit, tree)
        return report.inspect_folder(config, tree)
