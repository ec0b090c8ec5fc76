"""Every setting with its meaning, its value without secrets, and where that value is from."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from host.config import CONTROL_FILES, HOME, Config, read_env_file
from host.errors import Refused
from host.masking import control_secrets
from host.masking.known_secrets import read_masks
from host.masking.urls import hide_password
from host.operator_settings import run_time

ASSIGNMENT = re.compile(r"#?(?P<name>[A-Z][A-Z0-9_]+)=(?P<default>.*)")
SECTION = re.compile(r"# --- (?P<title>[^(:]*)")
MASK = "******"
DEFAULT, ENVIRONMENT, RUN_TIME = "default", "process environment", "operators, at run time"
CHANGED = "{path}, changed since the start: run ./scripts/apply-settings.sh"


@dataclass(frozen=True)
class Known:
    """A setting as .env.example has it."""

    name: str
    section: str
    meaning: str
    default: str


@dataclass(frozen=True)
class Setting:
    """A setting as it is now. `source` is a path, CHANGED or one of the three constants above it.

    `unused` is what operators have set and an env file overrides. `may_change`: at run time.
    """

    name: str
    section: str
    meaning: str
    value: str
    source: str
    default: str
    may_change: bool
    unused: str


def list_settings(config: Config) -> list[Setting]:
    """Return all settings in the order of .env.example.

    Raises Refused as `run_time.read_stored`.
    """
    files = _read_files(config)
    stored, in_effect = run_time.read_stored(config), run_time.read_in_effect(config)
    masks = read_masks(config)
    found = []
    for one in parse_example((HOME / ".env.example").read_text()):
        value, source = _find_value(config, one, files, in_effect)
        found.append(
            Setting(
                one.name,
                one.section,
                one.meaning,
                masks.mask(hide_secrets(one.name, value)),
                source,
                one.default,
                may_change=one.name in run_time.NAMES and not config.get(one.name),
                unused="" if one.name in in_effect else stored.get(one.name, ""),
            )
        )
    return found


def hide_secrets(name: str, value: str) -> str:
    """Return the value as a page may show it."""
    if name in control_secrets.VALUES:
        return MASK if value else ""
    return hide_password(value)


def parse_example(text: str) -> Iterator[Known]:
    """Yield the settings of .env.example; names that follow each other share the text above."""
    section, is_named = "", False
    comment: list[str] = []
    for line in text.splitlines():
        if match := SECTION.match(line):
            section, comment, is_named = match["title"].strip(), [], False
        elif match := ASSIGNMENT.fullmatch(line):
            is_named = True
            yield Known(match["name"], section, " ".join(comment), match["default"])
        elif line.startswith("# "):
            comment = [*([] if is_named else comment), line[2:].strip()]
            is_named = False
        elif not line.strip():
            comment, is_named = [], False


def _read_files(config: Config) -> dict[str, Mapping[str, str]]:
    files: dict[str, Mapping[str, str]] = {}
    for name in CONTROL_FILES:
        path = config.env_dir / name
        with suppress(OSError, Refused):
            files[str(path)] = read_env_file(path)
    return files


def _find_value(
    config: Config,
    known: Known,
    files: Mapping[str, Mapping[str, str]],
    in_effect: Mapping[str, str],
) -> tuple[str, str]:
    name = known.name
    named = {path: found[name] for path, found in files.items() if found.get(name)}
    changed = next((CHANGED.format(path=path) for path in named), "")
    if value := config.get(name):
        paths = (path for path, one in named.items() if one == value)
        return value, next(paths, changed or ENVIRONMENT)
    if name in in_effect:
        return in_effect[name], RUN_TIME
    return known.default, changed or DEFAULT
