"""Finds commits that a branch has reverted: merging a branch with them does not bring them back."""

import re
from collections.abc import Sequence

# What `git revert` writes; of a merge ", reversing changes made to <its first parent>" follows.
REVERTED = re.compile(r"^This reverts commit ([0-9a-f]{40}(?:[0-9a-f]{24})?)\b", re.MULTILINE)
LOG_OPTIONS = ("-z", "--format=%H%n%B", "--grep=^This reverts commit ")


def parse_reverted(raw: str) -> list[str]:
    """Return the commits that stay reverted, from what `git log` printed with LOG_OPTIONS.

    It prints the newest first, so a revert that was itself reverted is known when it comes.
    """
    reverted: list[str] = []
    for record in raw.split("\0"):
        commit, _, message = record.partition("\n")
        if commit not in reverted:
            reverted += REVERTED.findall(message)
    return list(dict.fromkeys(reverted))


def list_brought(commit: str, parents: Sequence[str]) -> list[str]:
    """Return the commits that a commit brings to its branch: a merge also those that it merged."""
    return [commit, *parents[1:]]
