"""The values of the secrets of applications and of our own, so that no log or page shows them.

Known are the values in the operator's files of variables, from the moment they are written there,
those that a process was given or could read, and those of notification targets: these are stored
in one file of ours, which no other user can read. Those of the control plane's own settings are
known while they are in effect, or in an env file (`control_secrets`). What is written to a log, an
event or a detail, or shown of a file, has all of them masked, because a text may quote another run.
`host.masking.masks` has the rule of what is recognized.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from host.app.dependencies import registries
from host.app.environment import SECRET_NAME_PATTERN, ResolvedEnvironment, Variable
from host.config import APPLICATION_FILES, CONTROL_FILES, Config, read_env_file
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.masking import control_secrets
from host.masking.masks import NO_MASKS, Masks, create_masks

# Of one variable of one purpose: a slot's database has a new password at each grant, and a log of
# the run before may still be read.
VALUES_KEPT = 3
LOCK_SECONDS = 10.0
Stored = dict[str, list[str]]
Stamp = tuple[int, int, int] | None  # of a file: it changes whenever the file does


def remember_secrets(config: Config, purpose: str, resolved: ResolvedEnvironment) -> None:
    """Store the secrets of an environment before a process gets it."""
    _remember(config, purpose, select_secrets(resolved))


def remember_variables(config: Config, file: str, values: Mapping[str, str]) -> None:
    """Store the values that are about to leave the operator's file of that name."""
    _remember(config, file, _select_variables(file, values))


def remember_target(config: Config, target: int, secrets: Iterable[str]) -> None:
    """Store the secrets of a notification target, which are in no file."""
    _remember(config, f"target-{target}", {str(place): one for place, one in enumerate(secrets)})


def read_masks(config: Config) -> Masks:
    """Return the masks of the stored secrets, and of those that are in files and settings now."""
    files = (
        _path(config),
        *(config.env_dir / name for name in (*APPLICATION_FILES, *CONTROL_FILES)),
        *control_secrets.list_files(config.environ, config.var),
    )
    settings = frozenset(control_secrets.select_values(config.environ))
    return _create_masks(files, settings, tuple(map(_read_stamp, files)))


def read_install_masks(config: Config) -> Masks:
    """Return the masks of an install's log, a build's or a check's: also of the registries'.

    They are stored: what an install may read, a later process of the branch may print.
    """
    passwords = registries.find_registries(config).passwords
    # By place: each of them is known for as long as it is used, and for a while after.
    _remember(config, "registries", {str(place): one for place, one in enumerate(passwords)})
    return read_masks(config) | create_masks(passwords)


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


def _remember(config: Config, purpose: str, secrets: Mapping[str, str]) -> None:
    path = _path(config)
    found = {f"{purpose}:{name}": value for name, value in secrets.items()}
    if is_known(_read(path), found):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path.with_suffix(".lock"), seconds=LOCK_SECONDS):
        stored = add_secrets(_read(path), found)
        safe_files.write_atomic(path, json.dumps(stored).encode(), 0o600)


def _select_variables(file: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return which values of an operator's file are masked: those of a process that has them."""
    variables = (Variable(name, value, file, secret=True) for name, value in values.items())
    return select_secrets(ResolvedEnvironment(tuple(variables)))


def _read_stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    # The time of the last change of the inode: that of its mode too, which makes a file readable.
    return status.st_ino, status.st_size, status.st_ctime_ns


@lru_cache(maxsize=4)
def _create_masks(
    files: tuple[Path, ...], settings: frozenset[str], stamps: tuple[Stamp, ...]
) -> Masks:
    if not any((*stamps, *settings)):
        return NO_MASKS
    values = {value for values in _read(files[0]).values() for value in values} | settings
    for file in files[1:]:
        values |= set(_read_secrets(file))
    return create_masks(values)


def _read_secrets(file: Path) -> Iterator[str]:
    if file.name not in (*APPLICATION_FILES, *CONTROL_FILES):
        yield from control_secrets.read_lines(file)
        return
    # No process is given the values of a file that cannot be read.
    with suppress(OSError, Refused):
        found = read_env_file(file)
        if file.name in CONTROL_FILES:
            yield from control_secrets.select_values(found)
        else:
            yield from _select_variables(file.name, found).values()


def _read(path: Path) -> Stored:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}  # absent, or cut by a crash of the host: the next start stores them again


def _path(config: Config) -> Path:
    # Not *.json: those are the files of units, and each is stopped by `runtime-down.sh`.
    return config.var / "run" / "known-secrets"
