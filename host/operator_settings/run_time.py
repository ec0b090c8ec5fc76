"""The settings that operators change without a restart, in one file of ours.

The file has the form of an env file. What the process environment or an env file sets wins, so a
file of the host's administrator has the last word. Every process reads the file when it needs a
value, by `read_number`, `read_boolean` or `read_text`. `docs/decisions/0035` says why.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

from host import settings_rules
from host.config import Config, read_env_file
from host.env_file import format_assignment
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock

PREVIEW_TTL = "PREVIEW_TTL_SECONDS"
REQUIRED_COUNT = "APPROVAL_REQUIRED_COUNT"
SELF_APPROVAL = "APPROVAL_SELF"
CODEOWNERS = "APPROVAL_CODEOWNERS"
FREEZE_AFTER_ROLLBACK = "ROLLBACK_FREEZES"
PRECHECK = "MERGE_GATE_PRECHECK"
PUSH_MODE = "MERGE_GATE_GIT_PUSH_MODE"
# Each with its default, as .env.example has it.
DEFAULTS = {
    PREVIEW_TTL: "14400",
    REQUIRED_COUNT: "1",
    SELF_APPROVAL: "allowed",
    CODEOWNERS: "off",
    FREEZE_AFTER_ROLLBACK: "true",
    PRECHECK: "manual",
    PUSH_MODE: "manual",
}
NAMES = tuple(DEFAULTS)
HEADER = "# Written by Oroboros: change these on the page of the settings, or by the API.\n"
LOCK_SECONDS = 10.0


def stored_path(config: Config) -> Path:
    """Return the file's path; without a change it does not exist."""
    return config.var / "settings" / "run-time.env"


def read_stored(config: Config) -> Mapping[str, str]:
    """Return what operators have set, in effect or not.

    Raises Refused `setting_invalid` for a wrong value, and as `parse_env`: a policy that cannot be
    read must not be taken for none.
    """
    path = stored_path(config)
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    return _parse(path, status.st_ino, status.st_mtime_ns)


def read_in_effect(config: Config) -> dict[str, str]:
    """Return what operators have set and no env file sets. Raises Refused as `read_stored`."""
    stored = read_stored(config)
    return {name: value for name, value in stored.items() if not config.get(name)}


def read_number(config: Config, name: str) -> int:
    """Return the whole number that is in effect. Raises Refused as `read_stored`."""
    return settings_rules.read_integer(_find_values(config, name), name, int(DEFAULTS[name]))


def read_boolean(config: Config, name: str) -> bool:
    """Return whether the setting is on. Raises Refused as `read_stored`."""
    return settings_rules.read_boolean(
        _find_values(config, name), name, default=DEFAULTS[name] == "true"
    )


def read_text(config: Config, name: str) -> str:
    """Return the word that is in effect. Raises Refused as `read_stored`."""
    values = _find_values(config, name)
    if name in settings_rules.CHOICES:
        return settings_rules.read_choice(values, name)
    return values[name] or DEFAULTS[name]


def is_set(config: Config, name: str) -> bool:
    """Return whether an operator, an env file or the environment sets it. Raises as above."""
    return bool(_find_values(config, name)[name])


def _find_values(config: Config, name: str) -> dict[str, str]:
    return {name: config.get(name) or read_stored(config).get(name, "")}


def write_value(
    config: Config, name: str, value: str, *, record: Callable[[str], None] = lambda before: None
) -> str:
    """Set a setting of NAMES, with "" to nothing. Returns the value before, "" without one.

    `record` gets the value before; the file is written after it, and not if it raises.
    Raises Refused `setting_not_changeable` (404), `setting_invalid` (400), `set_elsewhere` (409) if
    an env file or the process environment sets it, `settings_busy` (409).
    """
    check_change(config, name, value)
    path = stored_path(config)
    busy = Refused("settings_busy", "Another change of a setting is being written: try again.")
    with file_lock(path.with_suffix(".lock"), seconds=LOCK_SECONDS, refusal=busy):
        stored = dict(read_stored(config))
        before = stored.pop(name, "")
        if value:
            stored[name] = value
        lines = (format_assignment(one, stored[one]) for one in sorted(stored))
        record(before)
        safe_files.write_atomic(path, (HEADER + "".join(lines)).encode(), 0o600)
    return before


def check_change(config: Config, name: str, value: str) -> None:
    """Raise Refused as `write_value` unless the setting may have the value."""
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise Refused(
            "setting_not_changeable", f"Only these change at run time: {known}.", status=404
        )
    if config.get(name):
        raise Refused(
            "set_elsewhere", f"{name} is set in an env file or by the environment: change it there."
        )
    try:
        settings_rules.check_values({name: value})
    except Refused as refused:
        raise Refused(refused.code, refused.detail, status=400, fields=refused.fields) from None


@lru_cache(maxsize=4)
def _parse(path: Path, inode: int, changed_at: int) -> Mapping[str, str]:
    stored = {name: value for name, value in read_env_file(path).items() if name in NAMES}
    settings_rules.check_values(stored)
    return stored
