"""The values of the secrets that applications were given, so that no log or page shows them.

They are stored in one file of ours, which no other user can read. What is written to a log, an
event or a detail, or shown of a file, has the values of all applications masked, because a text may
quote another run. `host.masking.masks` has the rule of what is recognized.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from host.app.dependencies import registries
from host.app.environment import SECRET_NAME_PATTERN, ResolvedEnvironment, Variable
from host.config import Config
from host.files import safe_files
from host.files.file_lock import file_lock
from host.masking.masks import NO_MASKS, Masks, create_masks

# Of one variable of one purpose: a slot's database has a new password at each grant, and a log of
# the run before may still be read.
VALUES_KEPT = 3
LOCK_SECONDS = 10.0
Stored = dict[str, list[str]]


def remember_secrets(config: Config, purpose: str, resolved: ResolvedEnvironment) -> None:
    """Store the secrets of an environment before a process gets it."""
    found = {f"{purpose}:{name}": value for name, value in select_secrets(resolved).items()}
    if is_known(_read(_path(config)), found):
        return
    path = _path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_suffix(".lock"), seconds=LOCK_SECONDS):
        stored = add_secrets(_read(path), found)
        safe_files.write_atomic(path, json.dumps(stored).encode(), 0o600)


def read_masks(config: Config) -> Masks:
    """Return the masks of all secrets that were stored."""
    path = _path(config)
    try:
        status = path.stat()
    except OSError:
        return NO_MASKS
    return _create_masks(path, status.st_ino, status.st_mtime_ns)


def read_install_masks(config: Config) -> Masks:
    """Return the masks of an install's log, a build's or a check's: also of the registries'."""
    return read_masks(config) | create_masks(registries.find_registries(config).passwords)


def read_stage_masks(config: Config, stage: str) -> Masks:
    """Return the masks of a command's log; `stage` is one of `environment.STAGE_VARIABLES`."""
    return read_masks(config) if stage == "run" else read_install_masks(config)


def select_secrets(resolved: ResolvedEnvironment) -> dict[str, str]:
    """Return the values to mask by the names of their variables."""
    # A database's address, without its password, helps to find a mistake.
    return {
        one.name: one.value
        for one in resolved.values
        if one.secret and one.name != "DATABASE_URL" and not _is_plain_word(one)
    }


def _is_plain_word(variable: Variable) -> bool:
    """Return whether the value is a word such as `production`, under a name that is no secret's.

    The environment's page masks all values of the operator's file, but a mask in place of a word
    would make logs unreadable. What a branch itself has in its files is no password either.
    """
    is_operators = variable.origin.endswith(".env") or variable.origin == "oroboros"
    is_named = bool(SECRET_NAME_PATTERN.search(variable.name))
    return variable.value.isalpha() and not (is_operators and is_named)


def is_known(stored: Stored, found: Mapping[str, str]) -> bool:
    """Return whether each value is the latest of its name."""
    return all(stored.get(name, [None])[-1] == value for name, value in found.items())


def add_secrets(stored: Stored, found: Mapping[str, str]) -> Stored:
    """Return the stored values and the ones found, the latest last."""
    added = {
        name: [*(old for old in stored.get(name, []) if old != value), value][-VALUES_KEPT:]
        for name, value in found.items()
    }
    return {**stored, **added}


@lru_cache(maxsize=4)
def _create_masks(path: Path, inode: int, changed_at: int) -> Masks:
    return create_masks({value for values in _read(path).values() for value in values})


def _read(path: Path) -> Stored:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}  # absent, or cut by a crash of the host: the next start stores them again


def _path(config: Config) -> Path:
    # Not *.json: those are the files of units, and each is stopped by `runtime-down.sh`.
    return config.var / "run" / "known-secrets"
