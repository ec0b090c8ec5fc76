"""Decides which processes an application has beside `web`: background processes and servers.

They are the lines of its Procfile other than `web` and `release`. `formation` of app.json says how
many of each run, and `[processes.<type>]` of oroboros.toml what neither of the two can say.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from host.app import command_line
from host.app.command_line import Argv
from host.app.frameworks.site_servers import PROCESS_TYPE
from host.app.manifest import PROCESS_STOP_SECONDS, Process
from host.app.manifest_file import ManifestFile
from host.app.process_types import procfile
from host.app.process_types.procfile import ProcfileLine
from host.settings_rules import MAX_SERVERS

# What a slot and production can run beside `web`.
MAX_PROCESSES = 20
# The type is part of the names of units and logs.
TYPE_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$"
NOT_IN_THE_BACKGROUND = ("web", "release")


@dataclass(frozen=True)
class Declarations:
    """What the files of the manifest say about process types, each by type.

    `tables` have the keys that `[processes.<type>]` sets (`manifest_schema.ProcessTable`), one that
    was detected also `source`, the file that says so.
    """

    lines: Mapping[str, ProcfileLine] = field(default_factory=dict)
    quantities: Mapping[str, int] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def types(self) -> list[str]:
        """The types beside `web` and `release`, in the order of their files."""
        names = dict.fromkeys((*self.lines, *self.tables))
        return [name for name in names if name not in NOT_IN_THE_BACKGROUND]

    @property
    def has_servers(self) -> bool:
        """Whether a process has a port, or the name of the one that is detected."""
        return PROCESS_TYPE in self.types or any(one.get("port") for one in self.tables.values())

    def add_tables(self, tables: Mapping[str, Mapping[str, Any]]) -> "Declarations":
        """Return the declarations with tables of processes that were detected."""
        return replace(self, tables={**tables, **self.tables})


def list_processes(
    declared: Declarations, files: Mapping[str, ManifestFile], fields: Mapping[str, Any]
) -> tuple[tuple[Process, ...], list[str]]:
    """Return the processes beside `web`, and notes on what is not started.

    `fields` are those of the Manifest so far.

    Raises Refused `manifest_invalid`, `command_refused`.
    """
    notes = list(_describe_formation(declared))
    if "web" not in fields:
        problem = "is not started: the application has no web process."
        return (), notes + [f"The process {name!r} {problem}" for name in declared.types]
    processes = []
    for name in declared.types:
        if declared.quantities.get(name, 1) == 0:
            notes.append(f"The process {name!r} is not started: app.json gives it the quantity 0.")
            continue
        process = _read_process(declared, files, name, fields.get("backend_dir", "."))
        if _uses_port(process.argv) and not process.has_port:
            notes.append(
                f"The process {name!r} is not started: it uses $PORT, and has none without "
                f"`port = true` under [processes.{name}] of oroboros.toml."
            )
            continue
        if process.has_port and declared.quantities.get(name, 1) > 1:
            notes.append(f"app.json: one process {name!r} is started, since it has a port.")
        processes.append(process)
    _check_servers(files, processes)
    if sum(process.quantity for process in processes) > MAX_PROCESSES:
        raise _find_file(files, declared, processes[-1].type).refuse(
            f"there are more than {MAX_PROCESSES} background processes: lower their quantities in "
            "`formation` of app.json"
        )
    return tuple(processes), notes


def _read_process(
    declared: Declarations, files: Mapping[str, ManifestFile], name: str, backend_dir: str
) -> Process:
    stated = declared.tables.get(name, {})
    return Process(
        type=name,
        argv=stated.get("run") or _parse_line(declared, files, name),
        directory=stated.get("directory", backend_dir),
        quantity=1 if stated.get("port") else declared.quantities.get(name, 1),
        has_preview=stated.get("preview", True),
        stop_timeout=stated.get("stop_timeout", PROCESS_STOP_SECONDS),
        has_port=stated.get("port", False),
        health_path=stated.get("health_path", ""),
        source=stated.get("source") or ("oroboros.toml" if "run" in stated else "Procfile"),
    )


def _parse_line(declared: Declarations, files: Mapping[str, ManifestFile], name: str) -> Argv:
    line = declared.lines.get(name)
    if line is None:
        problem = f'say what it runs: `run = "…"` here, or a line `{name}: …` in the Procfile'
        raise files["oroboros.toml"].refuse(problem, "processes", name)
    file = files["Procfile"]
    if not re.fullmatch(TYPE_NAME, name):
        problem = "a process type has at most 40 letters, digits, - and _, the first no - or _"
        raise file.refuse(problem, name, line=line.number)
    return procfile.parse_line(file, name, line)


def _check_servers(files: Mapping[str, ManifestFile], processes: Sequence[Process]) -> None:
    servers = [process.type for process in processes if process.has_port]
    if len(servers) > MAX_SERVERS:
        problem = f"at most {MAX_SERVERS} processes have a port beside web: take one away"
        raise files["oroboros.toml"].refuse(problem, "processes", servers[-1], "port")


def _uses_port(argv: Argv) -> bool:
    return any("PORT" in command_line.find_variables(word) for word in argv)


def _describe_formation(declared: Declarations) -> Iterator[str]:
    if declared.quantities.get("web", 1) != 1:
        yield "app.json: one web process is started, whatever formation says."
    for name in declared.quantities:
        if name not in (*NOT_IN_THE_BACKGROUND, *declared.types):
            yield f"app.json: formation names the process {name!r}, which has no command."


def _find_file(
    files: Mapping[str, ManifestFile], declared: Declarations, name: str
) -> ManifestFile:
    return files["Procfile" if name in declared.lines else "oroboros.toml"]
