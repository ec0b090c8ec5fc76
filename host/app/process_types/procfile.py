"""Reads the lines of a Procfile.

Source: https://devcenter.heroku.com/articles/procfile
"""

import re
from dataclasses import dataclass

from host.app import command_policy
from host.app.command_line import Argv, CommandLineInvalid
from host.app.manifest_file import ManifestFile
from host.errors import Refused

LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")


@dataclass(frozen=True)
class ProcfileLine:
    """The command of a process type, as it is written in the line of that number."""

    command: str
    number: int


def read_lines(file: ManifestFile) -> dict[str, ProcfileLine]:
    """Return the lines by process type. Raises Refused `manifest_invalid`."""
    lines: dict[str, ProcfileLine] = {}
    # Not splitlines(): it also ends a line at characters where git, and a person, see none end.
    for number, raw in enumerate(file.text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = LINE.fullmatch(line)
        if match is None:
            raise file.refuse("write `name: command`", line=number)
        name, command = match.groups()
        if name in lines:
            raise file.refuse("the process type appears twice", name, line=number)
        lines[name] = ProcfileLine(command, number)
    return lines


def parse_line(file: ManifestFile, name: str, line: ProcfileLine) -> Argv:
    """Return the command of a line. Raises Refused `manifest_invalid`, `command_refused`."""
    try:
        return command_policy.parse_command(line.command)
    except CommandLineInvalid as error:
        raise file.refuse(str(error), name, line=line.number) from None
    except Refused as refused:
        problem = refused.detail.removesuffix(".")
        raise file.refuse(problem, name, line=line.number, code=refused.code) from None
