"""Reads what an application says about itself: `Procfile`, `app.json`, `oroboros.toml`.

What the files leave open is detected. The tree is untrusted: only regular files within it are read,
and nothing of it is executed.
"""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.app import detection
from host.app.frameworks import migration_tools, site_servers
from host.app.manifest import Check, Manifest
from host.app.manifest_file import ManifestFile
from host.app.process_types import background, procfile
from host.app.process_types.background import Declarations
from host.app.process_types.route_layers import plan_routes
from host.app.resources import addons, storage
from host.env_file import BOM
from host.errors import Refused
from host.files.source_tree import SourceTree

if TYPE_CHECKING:
    from host.app.manifest_schema import CheckTable

# Keys of app.json that change what Heroku runs, and nothing here. Its other keys only describe.
HEROKU_KEYS = ("buildpacks", "environments", "image", "stack")
# Python refuses to convert integers that are longer; neither parser says where the integer is.
LONG_NUMBER = re.compile(rf"[0-9_]{{{sys.get_int_max_str_digits() + 1},}}")

Fields = dict[str, Any]
DECLARATIONS = ("lines", "quantities", "tables")  # of `Declarations`, among the fields


def load_manifest(root: Path) -> Manifest:
    """Read the manifest of the tree at `root`; a later file wins, detection fills the gaps.

    Raises Refused `manifest_invalid` or `command_refused` (400) naming file, line and key, and
    what to write.
    """
    tree = SourceTree(root)
    readers: dict[str, Callable[[ManifestFile, list[str]], Fields]] = {
        "Procfile": _read_procfile,
        "app.json": _read_app_json,
        "oroboros.toml": _read_toml,
    }
    fields: Fields = {}
    files: dict[str, ManifestFile] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    # In this order, so that a later file overwrites the fields of an earlier one.
    for name, read in readers.items():
        text = tree.read_text(name)
        if text is not None:
            files[name] = ManifestFile(name, text)
            found = read(files[name], notes)
            fields |= found
            sources |= dict.fromkeys(found, name)
    declared = Declarations(**{key: fields.pop(key) for key in DECLARATIONS if key in fields})
    stated = set(fields)
    fields["is_health_guess"] = "health_path" not in stated
    detected = detection.detect_defaults(tree, fields, has_servers=declared.has_servers)
    declared = declared.add_tables(detected.fields.pop("tables", {}))
    generated = fields.get("env_generated", ())
    fields |= detected.fields
    fields["env_generated"] = (*detected.fields.get("env_generated", ()), *generated)
    sources |= detected.sources
    fields["processes"], new = background.list_processes(declared, files, fields)
    notes += new
    notes += _check_backend(tree, fields, is_stated="frontend_output" in stated)
    if "frontend_output" in detected.fields:
        notes += _check_output(tree, fields)
    _check_complete(fields, files)
    _check_routes(fields, files)
    notes += migration_tools.list_notes(tree, fields)
    loaded = Manifest(**fields, files=tuple(files), sources=sources, notes=tuple(notes))
    _check_storage(loaded, files)
    return loaded


def read_checks(text: str) -> tuple[Check, ...]:
    """Return the checks of an `oroboros.toml`. Raises Refused as `load_manifest`."""
    file = ManifestFile("oroboros.toml", text.removeprefix(BOM))
    return _read_toml(file, []).get("checks", ())


def read_checklist(text: str) -> tuple[str, ...]:
    """Return what an approver has to confirm, by an `oroboros.toml`. Raises as `load_manifest`."""
    from host.app import manifest_validation  # see _read_app_json

    file = ManifestFile("oroboros.toml", text.removeprefix(BOM))
    if not file.text:
        return ()
    toml = manifest_validation.validate_toml(file, _parse_toml(file))
    return tuple(dict.fromkeys(toml.approval.checklist))


def read_screenshot_paths(text: str) -> tuple[str, ...]:
    """Return the pages that have pictures, by an `oroboros.toml`. Raises as `load_manifest`."""
    from host.app import manifest_validation  # see _read_app_json

    file = ManifestFile("oroboros.toml", text.removeprefix(BOM))
    toml = manifest_validation.validate_toml(file, _parse_toml(file))
    return tuple(dict.fromkeys(toml.screenshots.paths))


def _check_complete(fields: Fields, files: Mapping[str, ManifestFile]) -> None:
    """Refuse a manifest with nothing to run or to serve, or with a build of no known output."""
    if "web" not in fields and "frontend_output" not in fields:
        raise files.get("Procfile", ManifestFile("Procfile", "")).refuse(
            "nothing here says what to run: write `web: <command>`, or [frontend] output in an "
            "oroboros.toml",
            "web",
        )
    folder = fields.get("frontend_dir", ".")
    is_served = any(one.has_port and one.directory == folder for one in fields["processes"])
    if "frontend_build" in fields and "frontend_output" not in fields and not is_served:
        raise files["oroboros.toml"].refuse(
            "say which folder the build makes, such as dist, or which process with a port serves "
            "it ([processes.<type>] with this directory)",
            "frontend",
            "output",
        )


def _check_routes(fields: Fields, files: Mapping[str, ManifestFile]) -> None:
    """Refuse a route to a process that listens on no port, and more than the surface can try."""
    servers = [process.type for process in fields["processes"] if process.has_port]
    listening = ["web", *servers] if "web" in fields else []
    for path, name in fields.get("routes", {}).items():
        if name not in listening:
            known = ", ".join(listening) or "none, there is no backend"
            problem = f"no process {name!r} answers requests; give one of those that do: {known}"
            raise files["oroboros.toml"].refuse(problem, "routes", path)
    if plan_routes(fields.get("routes", {}), fields.get("detected_routes", ())).is_too_deep:
        problem = "routes of different processes lie within each other too often: take some out"
        raise files["oroboros.toml"].refuse(problem, "routes")


def _check_storage(found: Manifest, files: Mapping[str, ManifestFile]) -> None:
    """Refuse storage in the frontend's output, of which a copy is served, and the reverse."""
    for name, path in found.storage.items():
        if found.public_dir and storage.find_overlap({"storage": path, "out": found.public_dir}):
            problem = f"it overlaps {found.public_dir}, the frontend's output, which is a copy"
            raise files["oroboros.toml"].refuse(problem, "storage", name)


def _check_backend(tree: SourceTree, fields: Fields, *, is_stated: bool) -> list[str]:
    """Refuse a tree with a backend that is not recognized, also if its frontend is.

    If the manifest states what is served, it is a note.
    """
    found = None if "web" in fields else detection.find_unknown_backend(tree, fields)
    if found is None:
        return []
    path, name = found
    problem = f"{path} requires {name}, and nothing here says how it starts"
    if is_stated:
        return [f"{problem}: no backend is started. Write `web: <command>` into a Procfile."]
    line = detection.EXAMPLES.get(name, "web: <command>")
    raise ManifestFile("Procfile", "").refuse(
        f"{problem}: write `{line}`, or [frontend] output into an oroboros.toml if only the "
        "frontend is to be served",
        "web",
    )


def _check_output(tree: SourceTree, fields: Fields) -> list[str]:
    """Refuse a detected frontend whose build makes no files that could be served.

    Returns the notes on one that makes more than files.
    """
    if problem := site_servers.find_problem(tree, fields["frontend_dir"]):
        raise ManifestFile("Procfile", "").refuse(problem, "web")
    note = site_servers.find_note(tree, fields["frontend_dir"])
    return [note] if note else []


def _read_procfile(file: ManifestFile, notes: list[str]) -> Fields:
    lines = procfile.read_lines(file)
    fields: Fields = {"lines": lines}
    for name in background.NOT_IN_THE_BACKGROUND:
        if name in lines:
            fields[name] = procfile.parse_line(file, name, lines[name])
    return fields


def _read_app_json(file: ManifestFile, notes: list[str]) -> Fields:
    # pydantic takes 0.1 to 0.2 s to import, and most processes that can read a manifest never do.
    from host.app import manifest_validation

    try:
        data = json.loads(file.text)
    except json.JSONDecodeError as error:
        raise file.refuse(f"this is not JSON: {error.msg}", line=error.lineno) from None
    except ValueError:
        raise _refuse_long_number(file) from None
    except RecursionError:
        raise file.refuse("it is nested too deeply") from None
    app = manifest_validation.validate_app_json(file, data)
    ignored = [key for key in HEROKU_KEYS if data.get(key)]
    notes += [f"app.json: {key} is not honored here." for key in ignored]
    notes += addons.describe_unknown(app.addons)
    if any(entry.size for entry in app.formation.values()):
        notes.append("app.json: the sizes of formation are not honored here.")
    redis = {"redis": True} if addons.has_redis(app.addons) else {}
    seed = {"seed": app.scripts.postdeploy} if app.scripts.postdeploy else {}
    variables = app.env.items()
    defaults = {name: one.default for name, one in variables if one.default is not None}
    return (
        seed
        | redis
        | {
            "env_defaults": defaults,
            "env_generated": tuple(name for name, variable in variables if variable.is_generated),
            "env_required": tuple(name for name, variable in variables if variable.is_required),
            "quantities": {name: entry.quantity for name, entry in app.formation.items()},
        }
    )


def _read_toml(file: ManifestFile, notes: list[str]) -> Fields:
    from host.app import manifest_validation  # see _read_app_json

    toml = manifest_validation.validate_toml(file, _parse_toml(file))
    fields: Fields = {}
    for table in (toml.frontend, toml.backend, toml.database, toml.services):
        fields |= {name: getattr(table, name) for name in table.model_fields_set}
    if "checks" in toml.model_fields_set:
        fields["checks"] = tuple(_check(name, table) for name, table in toml.checks.items())
    fields |= {
        name: getattr(toml, name) for name in ("env", "routes", "storage") if getattr(toml, name)
    }
    if "processes" in toml.model_fields_set:
        tables = toml.processes.items()
        fields["tables"] = {name: table.model_dump(exclude_unset=True) for name, table in tables}
    return fields


def _check(name: str, table: "CheckTable") -> Check:
    return Check(name, table.run, table.timeout, table.directory)


def _parse_toml(file: ManifestFile) -> dict[str, Any]:
    try:
        return tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        # The message ends in "(at line 2, column 3)" or in "(at end of document)".
        position = re.search(r"line (\d+)", str(error))
        line = int(position[1]) if position else file.text.rstrip("\n").count("\n") + 1
        raise file.refuse(f"this is not TOML: {error}", line=line) from None
    except ValueError:
        raise _refuse_long_number(file) from None
    except RecursionError:
        raise file.refuse("it is nested too deeply") from None


def _refuse_long_number(file: ManifestFile) -> Refused:
    """Return the refusal of an integer of more digits than Python converts."""
    match = LONG_NUMBER.search(file.text)
    line = file.text.count("\n", 0, match.start()) + 1 if match else 1
    return file.refuse("an integer has too many digits", line=line)
