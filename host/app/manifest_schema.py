"""What `oroboros.toml` may hold: the one source of how it is read and of its JSON Schema.

`python -m host.app.manifest_schema` prints docs/oroboros.schema.json.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from host.app import command_line, command_policy
from host.app.command_line import Argv, NotArgv

CHECK_SECONDS = 600.0
CHECK_SECONDS_MOST = 3600
HEALTH_PATH = re.compile(r"/[!-~]{0,199}")
NAME = {"check": r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", "variable": r"^[A-Za-z_][A-Za-z0-9_]*$"}
PATH_PATTERN = r"^(?!/)(?!(.*/)?\.\.(/|$))[^\\\u0000-\u001f]+$"


@dataclass(frozen=True)
class Check:
    """A command that must succeed before a branch is shipped; `timeout` in seconds."""

    name: str
    argv: Argv
    timeout: float = CHECK_SECONDS
    directory: str = "."


class Wrong(ValueError):
    """A value is not what its key wants; the text says what it wants."""


def text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise Wrong("give a string in quotes")
    if command_line.SURROGATE.search(value):
        raise Wrong("there is half of a surrogate pair in it: take it out")
    return value


def _path(value: object) -> str:
    path = text(value)
    if not re.fullmatch(PATH_PATTERN, path):
        raise Wrong("give a path within the tree, relative, without `..`")
    return str(PurePosixPath(path))


def _health_path(value: object) -> str:
    if not HEALTH_PATH.fullmatch(text(value)):
        raise Wrong("give a path that starts with / and has no blanks or control characters")
    return text(value)


def command(value: object) -> Argv:
    """Return a command's argv. Raises Wrong, and Refused `command_refused` as `policy.check`."""
    argv = _argv(value)
    command_policy.check(argv)
    return argv


def _argv(value: object) -> Argv:
    try:
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return command_line.check(value)
        if isinstance(value, str):
            return command_line.parse(value)
    except NotArgv as error:
        raise Wrong(str(error)) from None
    raise Wrong("give a command as one string, or as a list of its words")


def _commands(value: object) -> tuple[Argv, ...]:
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        return tuple(command(item) for item in value)
    return (command(value),)


def _check(value: object) -> Check:
    if not isinstance(value, dict):
        return Check("", command(value))
    for key in value:
        if key not in ("run", "timeout", "directory"):
            raise Wrong(f"{key} is unknown: a check has run, timeout and directory")
    if "run" not in value:
        raise Wrong("a check needs `run`, its command")
    seconds = value.get("timeout", CHECK_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise Wrong("timeout is a number of seconds")
    if not 1 <= seconds <= CHECK_SECONDS_MOST:
        raise Wrong(f"timeout is from 1 to {CHECK_SECONDS_MOST} seconds")
    return Check("", command(value["run"]), float(seconds), _path(value.get("directory", ".")))


@dataclass(frozen=True)
class Kind:
    """How a key's value is read, what the schema says of it, what it is for."""

    read: Callable[[object], Any]
    schema: Mapping[str, object]
    becomes: str = ""
    help: str = ""


_WORDS: dict[str, object] = {"type": "array", "minItems": 1, "items": {"type": "string"}}
_LINE: dict[str, object] = {"type": "string", "minLength": 1}
_COMMAND: dict[str, object] = {"anyOf": [_LINE, _WORDS]}
_COMMANDS: dict[str, object] = {
    "anyOf": [_LINE, _WORDS, {"type": "array", "minItems": 1, "items": _WORDS}]
}
_PATH: dict[str, object] = {"type": "string", "pattern": PATH_PATTERN}
_HEALTH: dict[str, object] = {"type": "string", "pattern": f"^{HEALTH_PATH.pattern}$"}
_CHECK: dict[str, object] = {
    "anyOf": [
        _LINE,
        _WORDS,
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["run"],
            "properties": {
                "run": _COMMAND,
                "timeout": {"type": "number", "minimum": 1, "maximum": CHECK_SECONDS_MOST},
                "directory": _PATH,
            },
        },
    ]
}

SHAPE: Mapping[str, Mapping[str, Kind]] = {
    "frontend": {
        "directory": Kind(_path, _PATH, "frontend_dir", "where the frontend lies"),
        "install": Kind(_commands, _COMMANDS, "frontend_install", "instead of npm ci"),
        "build": Kind(_commands, _COMMANDS, "frontend_build", "makes the output"),
        "output": Kind(_path, _PATH, "frontend_output", "what is served, within directory"),
    },
    "backend": {
        "directory": Kind(_path, _PATH, "backend_dir", "where the backend lies"),
        "install": Kind(_commands, _COMMANDS, "backend_install", "instead of what lies there"),
        "build": Kind(_commands, _COMMANDS, "backend_build", "after the install"),
        "web": Kind(command, _COMMAND, "web", "starts the backend; wins over the Procfile"),
        "release": Kind(command, _COMMAND, "release", "migrates; wins over the Procfile"),
        "health_path": Kind(_health_path, _HEALTH, "health_path", "answers 200 when it is well"),
    },
    "database": {
        "seed": Kind(command, _COMMAND, "seed", "fills main's database once, after release"),
    },
}
# Tables whose keys are names of the application's own.
NAMED: Mapping[str, tuple[str, Kind]] = {
    "checks": (NAME["check"], Kind(_check, _CHECK)),
    "env": (NAME["variable"], Kind(text, {"type": "string"})),
}


def schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of `oroboros.toml`."""
    tables: dict[str, object] = {
        table: {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                key: {"description": kind.help, **kind.schema} for key, kind in keys.items()
            },
        }
        for table, keys in SHAPE.items()
    }
    for table, (pattern, kind) in NAMED.items():
        tables[table] = {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {pattern: kind.schema},
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "oroboros.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
    }


if __name__ == "__main__":
    json.dump(schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")
