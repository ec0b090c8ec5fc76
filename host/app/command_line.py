"""Splits the command lines of a manifest into argv, without a shell. Pure functions."""

import re
import shlex
from collections.abc import Mapping, Sequence

Argv = tuple[str, ...]

VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::?-([^}]*))?\})", re.ASCII)
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.ASCII | re.DOTALL)
# Half of a surrogate pair: JSON can write it, and UTF-8, and so an argv, cannot.
SURROGATE = re.compile("[\ud800-\udfff]")
SCRIPT_HINT = "put these lines into an executable file of the tree and name it here: ./bin/release"


class CommandLineInvalid(ValueError):
    """The text is not a command, or needs a shell; the message says what to write instead."""


def parse_command_line(line: str) -> Argv:
    """Split a command line into argv. Raises CommandLineInvalid if it needs a shell.

    `$NAME`, `${NAME}` and `${NAME:-default}` are left for `substitute_variables`. A leading `exec`
    is dropped: no shell stays between us and the program.
    """
    for sign in _find_shell_syntax(line):
        raise CommandLineInvalid(f"{sign} needs a shell, and there is none: {SCRIPT_HINT}")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CommandLineInvalid(f"{error}: close the quotation") from None
    # Heroku's Procfiles often begin so, to replace the shell.
    if words[:1] == ["exec"]:
        words = words[1:]
    return check_argv(words)


def check_argv(words: Sequence[str]) -> Argv:
    """Return the words as argv if the first can be a program. Raises CommandLineInvalid."""
    if not words or not words[0]:
        raise CommandLineInvalid("there is no command: name a program and its arguments")
    if ASSIGNMENT.fullmatch(words[0]):
        name = words[0].partition("=")[0]
        raise CommandLineInvalid(f"{name}= is not a program: set it under [env]")
    if words[0] == "cd":
        raise CommandLineInvalid("cd needs a shell: set `directory` under [backend] or [frontend]")
    if any(sign.isspace() for sign in words[0]):
        raise CommandLineInvalid(f"{words[0]!r} is not a program: give each word its own string")
    if any("\0" in word for word in words):
        raise CommandLineInvalid("there is a NUL in it: take it out")
    if any(SURROGATE.search(word) for word in words):
        raise CommandLineInvalid("there is half of a surrogate pair in it: take it out")
    return tuple(words)


def substitute_variables(text: str, values: Mapping[str, str]) -> str:
    """Fill in `$NAME`, `${NAME}` and `${NAME:-default}`; a name without a value becomes empty."""

    def value(match: re.Match[str]) -> str:
        return values.get(match[1] or match[2]) or match[3] or ""

    return VARIABLE.sub(value, text)


def find_variables(text: str) -> set[str]:
    """Return the names of the variables that `substitute_variables` would fill in."""
    return {match[1] or match[2] for match in VARIABLE.finditer(text)}


def _find_shell_syntax(line: str) -> list[str]:
    """Return the operators that a shell would act on.

    Within single quotes there are none, within double quotes only `$(` and the backtick.
    """
    # shlex does not report them: it returns `&&` as a word like any other.
    operators, quote, escaped = [], "", False
    for sign, following in zip(line, line[1:] + " ", strict=False):
        if escaped:
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if sign == quote else quote
            if quote == '"' and (sign == "`" or sign + following == "$("):
                operators.append(sign)
        elif sign in "'\"":
            quote = sign
        elif sign in "|&;<>()`\n" or sign + following == "$(":
            operators.append("a line break" if sign == "\n" else sign)
    return operators
