"""Splits the command lines of a manifest into argv, without a shell. Pure functions."""

import re
import shlex
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from host.app import environment_policy

Argv = tuple[str, ...]

# `$$`, `$NAME`, `${NAME}`, `${NAME:-default}`; every other `$` stands for itself.
VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<braced>[A-Za-z_]\w*)(?P<default>:?-[^}]*)?\})",
    re.ASCII,
)
REFERENCE_START = re.compile(r"[A-Za-z_{$']")  # a quote may end before the name begins
ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.ASCII | re.DOTALL)
# Half of a surrogate pair: JSON can write it, and UTF-8, and so an argv, cannot.
SURROGATE = re.compile("[\ud800-\udfff]")
SCRIPT_HINT = "put these lines into an executable file of the tree and name it here: ./bin/release"

SCRIPT_EXAMPLE = "such as ./bin/web with `#!/bin/sh` and `{name}=… exec <program>`"


class CommandLineInvalid(ValueError):
    """The text is not a command, or needs a shell; the message says what to write instead."""


def parse_command_line(line: str) -> Argv:
    """Split a command line into argv. Raises CommandLineInvalid if it needs a shell.

    `$NAME`, `${NAME}` and `${NAME:-default}` are left for `substitute_variables`; a `$` in single
    quotes or after a backslash becomes `$$`, since a shell would keep it. A leading `exec` is
    dropped: no shell stays between us and the program.
    """
    for sign in _find_shell_syntax(line):
        raise CommandLineInvalid(f"{sign} needs a shell, and there is none: {SCRIPT_HINT}")
    try:
        words = shlex.split(_protect_literal_dollars(line))
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
        raise CommandLineInvalid(_describe_assignment(words[0].partition("=")[0]))
    if words[0] == "cd":
        raise CommandLineInvalid("cd needs a shell: set `directory` under [backend] or [frontend]")
    if any(sign.isspace() for sign in words[0]):
        raise CommandLineInvalid(f"{words[0]!r} is not a program: give each word its own string")
    if any("\0" in word for word in words):
        raise CommandLineInvalid("there is a NUL in it: take it out")
    if any(SURROGATE.search(word) for word in words):
        raise CommandLineInvalid("there is half of a surrogate pair in it: take it out")
    return tuple(words)


def _describe_assignment(name: str) -> str:
    """Return why an assignment is no program, and where the variable can be set instead."""
    if environment_policy.can_manifest_set(name):
        return f"{name}= is not a program: set it under [env]"
    return (
        f"{name}= is not a program, and [env] may not set {name}: put the whole line into an "
        f"executable file of the tree, {SCRIPT_EXAMPLE.format(name=name)}, and name that file here"
    )


def substitute_variables(text: str, values: Mapping[str, str]) -> str:
    """Fill in `$NAME`, `${NAME}` and `${NAME:-default}`; a name without a value becomes empty.

    `$$` becomes `$`, and a `$` before anything else stays.
    """

    def value(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        return values.get(_name_of(match)) or (match["default"] or "").lstrip(":")[1:]

    return VARIABLE.sub(value, text)


def escape_unknown_variables(text: str, known: AbstractSet[str]) -> str:
    """Return the text in which `substitute_variables` leaves each `$NAME` alone that is not known.

    Such a text is seldom a reference: the hash of a password, `$2b$12$abc`, looks like one.
    """

    def escape(match: re.Match[str]) -> str:
        return "$" + match[0] if match["bare"] and match["bare"] not in known else match[0]

    return VARIABLE.sub(escape, text)


def find_variables(text: str) -> set[str]:
    """Return the names of the variables that `substitute_variables` would fill in."""
    return {_name_of(match) for match in VARIABLE.finditer(text) if not match["dollar"]}


def find_missing_variables(text: str, known: AbstractSet[str]) -> tuple[set[str], set[str]]:
    """Return the names that are not known: those written `$NAME`, and those written `${NAME}`.

    A reference with a default is not missing.
    """
    matches = [match for match in VARIABLE.finditer(text) if not match["default"]]
    bare = {match["bare"] for match in matches if match["bare"]}
    braced = {match["braced"] for match in matches if match["braced"]}
    return bare - known, braced - known


def _name_of(match: re.Match[str]) -> str:
    return match["bare"] or match["braced"] or ""


def _protect_literal_dollars(line: str) -> str:
    """Return the line with `$$` for each `$` that would begin a reference, and not in a shell."""
    signs, quote, escaped = [], "", False
    for sign, following in zip(line, line[1:] + " ", strict=False):
        if escaped:
            signs.append("$$" if sign == "$" else "\\" + sign)
            escaped = False
        elif sign == "\\" and quote != "'":
            escaped = True
        else:
            if sign in "'\"" and quote in ("", sign):
                quote = "" if quote else sign
            is_literal = sign == "$" and quote == "'" and REFERENCE_START.match(following)
            signs.append("$$" if is_literal else sign)
    return "".join(signs) + "\\" * escaped


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
