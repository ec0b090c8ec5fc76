"""The rules of env files: one parser for every file that an operator writes. Pure functions.

They are those of python-dotenv (https://saurabh-kumar.com/python-dotenv/#file-format) without its
substitution: `export` before a name, quotes, values of several lines in quotes, escapes in double
quotes, and comments after a blank. `docs/reference/env-files.md` describes them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from host.errors import Refused

ENV_FILE_BYTES = 64 * 1024
BOM = "\ufeff"  # some editors write it before the first line
# \n and not \s: a value may contain U+2028 and the like.
BLANK_LINE = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)[ \t]*=")
QUOTED_VALUE = re.compile(r"""[ \t]*(?:'((?:\\'|[^'])*)'|"((?:\\"|[^"])*)")""")
END_OF_LINE = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
UNQUOTED_VALUE = re.compile(r"([^\n]*)(?:\n|\Z)")
INLINE_COMMENT = re.compile(r"[ \t]#.*")
SINGLE_QUOTE_ESCAPE = re.compile(r"\\([\\'])")
DOUBLE_QUOTE_ESCAPE = re.compile(r"""\\([\\'"abfnrtv])""")
CONTROL_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
REFERENCE = re.compile(r"\$(?:[A-Za-z_(]|\{[A-Za-z_])")
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_@%+=:,./{}~?&;*!()<>|$^-]*")


@dataclass(frozen=True)
class Assignment:
    """One variable of a file: the number of its line, its value, and how that was written."""

    line: int
    name: str
    value: str
    written: str
    quote: str = ""


def parse_env(text: str, source: str) -> dict[str, str]:
    """Parse an env file. Values are not expanded: a `$` is a `$`.

    Raises Refused naming `source` and the line: `env_file_too_large`, `env_file_invalid` (NUL),
    `env_line_invalid`, `env_key_duplicate`.
    """
    values: dict[str, str] = {}
    for assignment in parse_assignments(text, source):
        if assignment.name in values:
            detail = f"{source} line {assignment.line}: {assignment.name} again."
            raise Refused("env_key_duplicate", detail, status=400)
        values[assignment.name] = assignment.value
    return values


def parse_assignments(text: str, source: str) -> Iterator[Assignment]:
    """Yield the variables in the order of the file. Raises Refused as `parse_env`."""
    if len(text.encode("utf-8", "surrogateescape")) > ENV_FILE_BYTES:
        raise refuse_large_file(source)
    if "\0" in text:
        raise Refused("env_file_invalid", f"{source} contains a NUL byte.", status=400)
    # Windows' line ends would otherwise be part of a value of several lines, such as a key.
    text = text.removeprefix(BOM).replace("\r\n", "\n")
    line, position = 1, 0
    while position < len(text):
        blank = BLANK_LINE.match(text, position)
        if blank is not None:
            end = blank.end()
        else:
            assignment, end = _parse_assignment(text, position, line, source)
            yield assignment
        line += text.count("\n", position, end)
        position = end


def refuse_large_file(source: str) -> Refused:
    """Return the refusal of a file that is larger than an env file may be."""
    return Refused("env_file_too_large", f"{source} is larger than 64 KiB.", status=400)


def _parse_assignment(text: str, position: int, line: int, source: str) -> tuple[Assignment, int]:
    """Return the assignment that begins at `position`, and the position after its last line."""
    # No refusal quotes the line: it may contain a secret.
    name = ASSIGNMENT.match(text, position)
    if name is None:
        raise _refuse_line(source, line, "not KEY=value")
    quoted = QUOTED_VALUE.match(text, name.end())
    if quoted is not None:
        end = END_OF_LINE.match(text, quoted.end())
        if end is None:
            raise _refuse_line(source, line, "there is text after the closing quote")
        return _read_quoted(quoted, name[1], line), end.end()
    rest = UNQUOTED_VALUE.match(text, name.end())
    written = rest[1] if rest is not None else ""
    if written.lstrip(" \t")[:1] in ("'", '"'):
        raise _refuse_line(source, line, "a quote is opened and not closed")
    if "\r" in written.strip(" \t\r"):
        raise _refuse_line(
            source, line, "a carriage return ends no line: end lines with line feeds"
        )
    value = INLINE_COMMENT.sub("", written).strip(" \t\r")
    end_of_value = rest.end() if rest is not None else len(text)
    return Assignment(line, name[1], value, written.strip(" \t\r")), end_of_value


def _read_quoted(match: re.Match[str], name: str, line: int) -> Assignment:
    if match[1] is not None:
        return Assignment(line, name, SINGLE_QUOTE_ESCAPE.sub(r"\1", match[1]), match[1], "'")
    value = DOUBLE_QUOTE_ESCAPE.sub(lambda m: CONTROL_ESCAPES.get(m[1], m[1]), match[2])
    return Assignment(line, name, value, match[2], '"')


def _refuse_line(source: str, line: int, problem: str) -> Refused:
    return Refused("env_line_invalid", f"{source} line {line}: {problem}.", status=400)


def find_surprises(text: str, source: str) -> list[str]:
    """Return a sentence for each value that another program, or its author, may read differently.

    They name the variables and no values. Raises Refused as `parse_env`.
    """
    return [
        f"{source} line {assignment.line}: {assignment.name}: {surprise}."
        for assignment in parse_assignments(text, source)
        for surprise in _describe_surprises(assignment)
    ]


def _describe_surprises(assignment: Assignment) -> Iterator[str]:
    if not assignment.quote and assignment.value != assignment.written:
        yield "the text from # is a comment; put the value in quotes to keep it"
    escapes = [m[1] for m in DOUBLE_QUOTE_ESCAPE.finditer(assignment.written)]
    if assignment.quote == '"' and any(letter in CONTROL_ESCAPES for letter in escapes):
        yield r"an escape such as \n becomes one character; single quotes keep it as it is"
    if assignment.quote != "'" and REFERENCE.search(assignment.written):
        yield "$ is kept as it is, no variable is filled in; single quotes say so"
    elif assignment.quote != "'" and "$$" in assignment.written:
        yield "$$ is kept as two signs; in [env] of a manifest it stands for one"
    if not assignment.quote and assignment.written.startswith("`"):
        yield "backticks are part of the value; use single or double quotes"


def format_assignment(name: str, value: str) -> str:
    """Return the line that `parse_env`, and systemd's EnvironmentFile, read as this value.

    Source of what both have in common: systemd.exec(5), EnvironmentFile.
    """
    if PLAIN_VALUE.fullmatch(value):
        return f"{name}={value}\n"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{escaped}"\n'


def replace_values(text: str, values: Mapping[str, str | None]) -> str:
    """Return the text of an env file with these values; None is for a variable to remove.

    A variable keeps its place and a new one is appended; all other lines stay. Raises Refused as
    `parse_env`.
    """
    lines, missing = text.split("\n"), dict(values)
    for assignment in reversed(list(parse_assignments(text, "the file"))):
        if assignment.name in values:
            value = missing.pop(assignment.name, None)
            line = [] if value is None else [format_assignment(assignment.name, value)[:-1]]
            end = assignment.line + assignment.written.count("\n")
            lines[assignment.line - 1 : end] = line
    rest = "".join(format_assignment(name, one) for name, one in missing.items() if one is not None)
    kept = "\n".join(lines).rstrip("\n")
    return (f"{kept}\n" if kept else "") + rest
