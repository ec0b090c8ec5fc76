"""What an application says about itself: `Procfile`, `app.json`, `oroboros.toml`, then habits.

The tree is somebody else's: only regular files within it are read, and nothing of it is executed.
"""

import difflib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from host.app import detection, environment_policy, manifest_schema
from host.app.command_line import Argv
from host.app.manifest_schema import NAMED, SHAPE, Check
from host.errors import Refused
from host.files.source_tree import Tree

__all__ = ["Check", "Manifest", "load"]

PROCESS = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
LONG_NUMBER = re.compile(rf"[0-9_]{{{sys.get_int_max_str_digits() + 1},}}")


@dataclass(frozen=True)
class Manifest:
    """What to install, build, check and start. Directories are relative to the tree.

    An empty `…_install` stands for the habit of what lies there (see application.py); no `web`
    means there is no backend, no `frontend_output` that the backend serves the whole.
    """

    web: Argv | None = None
    release: Argv | None = None
    seed: Argv | None = None
    backend_dir: str = "."
    backend_install: tuple[Argv, ...] = ()
    backend_build: tuple[Argv, ...] = ()
    health_path: str = "/health"
    frontend_dir: str = "."
    frontend_install: tuple[Argv, ...] = ()
    frontend_build: tuple[Argv, ...] = ()
    frontend_output: str | None = None
    checks: tuple[Check, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    env_defaults: Mapping[str, str] = field(default_factory=dict)
    env_generated: tuple[str, ...] = ()
    env_required: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def public(self) -> str | None:
        """Where the frontend's files lie once it is built, relative to the tree."""
        if self.frontend_output is None:
            return None
        return str(PurePosixPath(self.frontend_dir, self.frontend_output))


def load(root: Path) -> Manifest:
    """Read what the tree says about itself, and fill in what its ecosystem's habits say.

    Raises Refused `manifest_invalid` or `command_refused` (400) naming file, line and key, and
    what to write.
    """
    tree = Tree(root)
    read = {"Procfile": _procfile, "app.json": _app_json, "oroboros.toml": _toml}
    given: dict[str, Any] = {}
    used: dict[str, _Source] = {}
    notes: list[str] = []
    for name, reader in read.items():  # the later file wins
        text = tree.text(name)
        if text is not None:
            used[name] = _Source(name, text)
            given |= reader(used[name], notes)
    given |= detection.fill(tree, given)
    if "web" not in given and "frontend_output" not in given:
        raise used.get("Procfile", _Source("Procfile", "")).refuse(
            "nothing here says what to run: write `web: <command>`, or [frontend] output in an "
            "oroboros.toml",
            "web",
        )
    if "frontend_build" in given and "frontend_output" not in given:
        raise used["oroboros.toml"].refuse(
            "say which folder the build makes, such as dist", "frontend", "output"
        )
    return Manifest(**given, files=tuple(used), notes=tuple(notes))


def checks(text: str) -> tuple[Check, ...]:
    """Return what an oroboros.toml says is to be checked. Raises Refused as `load`."""
    return _toml(_Source("oroboros.toml", text), []).get("checks", ())


@dataclass(frozen=True)
class _Source:
    """A file of the manifest, so that a refusal can say where."""

    name: str
    text: str

    def refuse(
        self, problem: str, *key: str, line: int | None = None, code: str = "manifest_invalid"
    ) -> Refused:
        line = line or self._line(key)
        dotted = _shown(".".join(key))
        where = f"{self.name} line {line}" + (f", {dotted}" if dotted else "")
        fields = {"file": self.name, "line": str(line), "key": dotted}
        return Refused(code, f"{where}: {_shown(problem)}.", status=400, fields=fields)

    def _line(self, key: tuple[str, ...]) -> int:
        """Return the line that sets `key`, or the nearest table around it."""
        lines = _json_keys(self.text) if self.name.endswith(".json") else _toml_keys(self.text)
        for length in range(len(key), 0, -1):
            for number, path in lines:
                if path[:length] == key[:length]:
                    return number
        return 1


def _shown(text: str) -> str:
    """Return what holds names of the file as something that can be stored and read."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _toml_keys(text: str) -> list[tuple[int, tuple[str, ...]]]:
    found: list[tuple[int, tuple[str, ...]]] = []
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if match := re.match(r"\s*\[+([^\]]+)\]", line):
            table = _dotted(match[1])
            found.append((number, table))
        elif match := re.match(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""", line):
            found.append((number, table + _dotted(match[1])))
    return found


def _dotted(key: str) -> tuple[str, ...]:
    return tuple(part.strip(" \t\"'") for part in key.split("."))


def _json_keys(text: str) -> list[tuple[int, tuple[str, ...]]]:
    """Return the keys by the nesting of their braces; strings that hold braces may mislead."""
    found: list[tuple[int, tuple[str, ...]]] = []
    path: list[str] = []
    key = ""
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"\s*:|[{}]', text):
        if match[0] == "{":
            path.append(key)
        elif match[0] == "}":
            del path[-1:]
        else:
            key = match[1]
            found.append((text.count("\n", 0, match.start()) + 1, (*path[1:], key)))
    return found


def _procfile(source: _Source, notes: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, raw in enumerate(source.text.splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = PROCESS.fullmatch(line)
        if match is None:
            raise source.refuse("write `name: command`", line=number)
        name, text = match.groups()
        if name not in ("web", "release"):
            notes.append(f"Procfile line {number}: the process {name!r} is not started here.")
            continue
        if name in found:
            raise source.refuse("it is given twice", name, line=number)
        found[name] = _value(source, (name,), manifest_schema.command, text, line=number)
    return found


def _app_json(source: _Source, notes: list[str]) -> dict[str, Any]:
    """Read the keys of Heroku's app.json that mean something here; the others are let be."""
    try:
        data = json.loads(source.text)
    except json.JSONDecodeError as error:
        raise source.refuse(f"this is not JSON: {error.msg}", line=error.lineno) from None
    except ValueError:
        raise _too_long(source) from None
    except RecursionError:
        raise source.refuse("it is nested too deeply") from None
    scripts, env = _object(source, data, "scripts"), _object(source, data, "env")
    found: dict[str, Any] = {}
    if scripts.get("postdeploy"):
        key = ("scripts", "postdeploy")
        found["seed"] = _value(source, key, manifest_schema.command, scripts["postdeploy"])
    defaults, generated, required = {}, [], []
    for name, wanted in env.items():
        if not re.fullmatch(manifest_schema.NAME["variable"], name):
            raise source.refuse("that is not the name of a variable", "env", name)
        value = wanted.get("value") if isinstance(wanted, dict) else wanted
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            defaults[name] = _value(source, ("env", name), manifest_schema.text, str(value))
        elif isinstance(wanted, dict) and wanted.get("generator") == "secret":
            generated.append(name)
        elif not isinstance(wanted, dict) or value is not None:
            raise source.refuse("give a string, or an object with `value`", "env", name)
        elif wanted.get("required", True):
            required.append(name)
    return found | {
        "env_defaults": defaults,
        "env_generated": tuple(generated),
        "env_required": tuple(required),
    }


def _too_long(source: _Source) -> Refused:
    """Return the refusal of an integer of more digits than Python reads."""
    found = LONG_NUMBER.search(source.text)
    line = source.text.count("\n", 0, found.start()) + 1 if found else 1
    return source.refuse("a number in it is too long", line=line)


def _object(source: _Source, data: object, key: str) -> dict[str, Any]:
    value = data.get(key, {}) if isinstance(data, dict) else None
    if not isinstance(value, dict):
        raise source.refuse("give an object in braces", *([key] if isinstance(data, dict) else []))
    return value


def _toml(source: _Source, notes: list[str]) -> dict[str, Any]:
    try:
        data = tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        last = len(source.text.splitlines())
        raise source.refuse(
            f"this is not TOML: {error}", line=int(line[1]) if line else last
        ) from None
    except ValueError:
        raise _too_long(source) from None
    except RecursionError:
        raise source.refuse("it is nested too deeply") from None
    found: dict[str, Any] = {}
    for table, values in data.items():
        if table not in SHAPE and table not in NAMED:
            raise source.refuse(_unknown(table, [*SHAPE, *NAMED]), table)
        if not isinstance(values, dict):
            raise source.refuse(f"write it as a table: [{table}]", table)
        if table in SHAPE:
            found |= _shaped(source, table, values)
        else:
            found[table] = _named(source, table, values)
    for name in found.get("env", ()):
        if not environment_policy.may_be_mapped(name):
            raise source.refuse("it is not yours to set: take it out", "env", name)
    if "checks" in found:
        found["checks"] = tuple(replace(c, name=name) for name, c in found["checks"].items())
    return found


def _shaped(source: _Source, table: str, values: Mapping[str, object]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        kind = SHAPE[table].get(key)
        if kind is None:
            raise source.refuse(_unknown(key, list(SHAPE[table])), table, key)
        found[kind.becomes] = _value(source, (table, key), kind.read, value)
    return found


def _named(source: _Source, table: str, values: Mapping[str, object]) -> dict[str, Any]:
    pattern, kind = NAMED[table]
    for key in values:
        if not re.fullmatch(pattern, key):
            raise source.refuse(f"a name here matches {pattern}", table, key)
    return {key: _value(source, (table, key), kind.read, value) for key, value in values.items()}


def _value(
    source: _Source,
    key: tuple[str, ...],
    read: Callable[[object], Any],
    value: object,
    line: int | None = None,
) -> Any:
    try:
        return read(value)
    except manifest_schema.Wrong as error:
        raise source.refuse(str(error), *key, line=line) from None
    except Refused as refused:
        problem = refused.detail.removesuffix(".")
        raise source.refuse(problem, *key, line=line, code=refused.code) from None


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"the key is unknown; {hint}"
