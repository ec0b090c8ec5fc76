"""Reads from git and the accounts what a run's approval needs, for `Run.merge_forecast`.

All of it is that of the target branch, at the commit that the branch would be merged into now: the
branch cannot remove the checklist, or the owners, that it is checked against.
"""

import logging
from collections import defaultdict
from typing import Any

from accounts.identities import find_person
from host.app import manifest_loader
from host.errors import Refused
from host.git import code_owners
from host.git.bare_repository import Repository
from runs.approvals.rules import OwnedPaths, Requirements
from runs.models import Run

log = logging.getLogger(__name__)

STORED_PATHS = 20  # of each group of owners


def compute_requirements(repo: Repository, run: Run, base: str) -> dict[str, Any]:
    """Return the requirements as `Run.merge_forecast` stores them under "approval"."""
    fork = repo.find_merge_base(base, run.commit_sha)
    requesters = {find_person(one.created_by) for one in (run, *run.list_ancestors())}
    authors = repo.list_author_addresses(fork, run.commit_sha) if fork else []
    paths = repo.list_changed_files(fork, run.commit_sha) if fork else []
    return {
        "checklist": list(read_checklist(repo, base)),
        "makers": sorted(requesters | {one.lower() for one in authors}),
        "owned": _group_by_owners(repo, base, paths),
    }


def read_checklist(repo: Repository, base: str) -> tuple[str, ...]:
    """Return the checklist of `oroboros.toml` in that commit.

    None if the file cannot be read, or no branch could repair it.
    """
    raw = repo.read_file(base, "oroboros.toml") or b""
    try:
        return manifest_loader.read_checklist(raw.decode())
    except (Refused, UnicodeDecodeError) as unreadable:
        log.warning("the target branch's manifest has no readable checklist: %s", unreadable)
        return ()


def _group_by_owners(repo: Repository, base: str, paths: list[str]) -> list[dict[str, Any]]:
    files = (repo.read_file(base, name) for name in code_owners.LOCATIONS)
    raw = next((one for one in files if one is not None), b"")
    rules = code_owners.parse_rules(raw.decode(errors="replace"))
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for path in paths if rules else ():
        owners = code_owners.find_owners(rules, path)
        if owners:
            groups[tuple(sorted(owners))].append(path)
    return [
        {"owners": list(owners), "paths": owned[:STORED_PATHS], "count": len(owned)}
        for owners, owned in groups.items()
    ]


def parse_requirements(run: Run) -> Requirements | None:
    """Return the stored requirements of the run's present commit; None if they are not known."""
    forecast = run.merge_forecast
    stored = forecast.get("approval")
    if stored is None or forecast.get("commit") != run.commit_sha:
        return None
    owned = (
        OwnedPaths(frozenset(one["owners"]), tuple(one["paths"]), one["count"])
        for one in stored["owned"]
    )
    return Requirements(tuple(stored["checklist"]), frozenset(stored["makers"]), tuple(owned))
