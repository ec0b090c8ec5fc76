"""Reads which scripts of a package.json its build runs."""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

# What runs other scripts of the same package, by their names or a pattern of them (`build:*`).
RUNNERS = re.compile(r"\b(?:npm|pnpm|yarn|bun|run-[sp]|npm-run-all2?|concurrently|wireit)\b")
WORD = re.compile(r"[\w:.@/*-]+")


def list_build_commands(scripts: Mapping[str, Any]) -> list[str]:
    """Return the commands of the script `build`, and of those that it calls."""
    found: dict[str, str] = {}
    waiting = ["prebuild", "build", "postbuild"]
    while waiting:
        name = waiting.pop()
        if name in found or name not in scripts:
            continue
        found[name] = str(scripts[name])
        if RUNNERS.search(found[name]):
            words = [word.removeprefix("npm:") for word in WORD.findall(found[name])]
            waiting += [one for one in scripts if any(fnmatchcase(one, word) for word in words)]
    return list(found.values())
