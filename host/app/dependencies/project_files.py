"""Reads the files in which projects name their dependencies: tables of TOML and JSON."""

import json
import os
import tomllib
from collections.abc import Mapping
from typing import Any

from host.files.source_tree import SourceTree

Table = Mapping[str, Any]


def join(folder: str, name: str) -> str:
    """Return the path of a file of the tree, as people write it."""
    return os.path.normpath(f"{folder}/{name}")


def read_toml(tree: SourceTree, folder: str, name: str) -> Table:
    """Return the file's tables; {} if it is absent or not TOML, which its own tool reports."""
    try:
        return tomllib.loads(tree.read_text(f"{folder}/{name}") or "")
    except (ValueError, RecursionError):
        return {}


def read_json(tree: SourceTree, folder: str, name: str) -> Table | None:
    """Return the file's object; None if it is absent or not a JSON object."""
    try:
        data = json.loads(tree.read_bytes(f"{folder}/{name}") or b"")
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def get_table(data: Table | None, *keys: str) -> Table:
    """Return the table at that path; {} if there is none."""
    for key in keys:
        value = data.get(key) if data else None
        data = value if isinstance(value, dict) else None
    return data or {}


def get_text(data: Table | None, *keys: str) -> str:
    """Return the text at that path; "" if there is none."""
    value = get_table(data, *keys[:-1]).get(keys[-1])
    return value if isinstance(value, str) else ""
