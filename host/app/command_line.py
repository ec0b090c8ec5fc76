"""Command lines of an application's files, read into argv without a shell. Pure."""

import re
import shlex
from collections.abc import Mapping, Sequence

Argv = tuple[str, ...]

VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^}]*))?\})", re.ASCII)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.ASCII | re.DOTALL)
# What JSON can write and no program be handed.
SURROGATE = re.compile("[\ud800-\udfff]")
SCRIPT_HINT = "put these lines into an executable file of the tree and name it here: ./bin/release"


class NotArgv(ValueError):
    """The line needs a shell; the text says which part, and what to write instead."""


def parse(line: str) -> Argv:
    """Split a command line into argv. Raises NotArgv for whatever only a shell understands.

    `$NAME`, `${NAME}` and `${NAME:-default}` stay as they are: `substitute` fills them in.
    A leading `exec` is dropped, since nothing stands between us and the program anyway.
    """
    for sign in _shell_signs(line):
        raise NotArgv(f"{sign} needs a shell, and there is none: {SCRIPT_HINT}")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise NotArgv(f"{error}: close the quotation") from None
    if words[:1] == ["exec"]:
        words = words[1:]
    return check(words)


def check(words: Sequence[str]) -> Argv:
    """Return the words as argv if their first can be a program. Raises NotArgv."""
    if not words or not words[0]:
        raise NotArgv("there is no command: name a program and its arguments")
    if ASSIGNMENT.fullmatch(words[0]):
        raise NotArgv(f"{words[0].partition('=')[0]}= is no program: set it under [env]")
    if words[0] == "cd":
        raise NotArgv("cd needs a shell: set `directory` under [backend] or [frontend]")
    if any(sign.isspace() for sign in words[0]):
        raise NotArgv(f"{words[0]!r} is no program: give each word its own string")
    if any("\0" in word for word in words):
        raise NotArgv("there is a NUL in it: take it out")
    if any(SURROGATE.search(word) for word in words):
        raise NotArgv("there is half of a surrogate pair in it: take it out")
    return tuple(words)


def substitute(text: str, values: Mapping[str, str]) -> str:
    """Fill in `$NAME`, `${NAME}` and `${NAME:-default}`; a name without a value becomes empty."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2]) or match[3] or ""

    return VARIABLE.sub(value, text)


def variables(text: str) -> set[str]:
    """Return the names that `substitute` would fill in."""
    return {match[1] or match[2] for match in VARIABLE.finditer(text)}


def _shell_signs(line: str) -> list[str]:
    """Return what a shell would act on: outside quotes, and in double ones `$(` and backticks."""
    found, quote, escaped = [], "", False
    for sign, following in zip(line, line[1:] + " ", strict=False):
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if sign == quote else quote
            if quote == '"' and (sign == "`" or sign + following == "$("):
                found.append(sign)
        elif sign in "'\"":
            quote = sign
        elif sign in "|&;<>()`\n" or sign + following == "$(":
            found.append("a line break" if sign == "\n" else sign)
    return found
