"""Compares an interpreter's version with the ranges that Python's and Node's tools write."""

import re

Version = tuple[int, ...]

CONSTRAINT = re.compile(
    r"(\^|~=|~>|~|===?|=|!=|>=|<=|>|<)?\s*v?(\d+(?:\.(?:\d+|[xX*]))*|[xX*])[^\s,]*"
)
HYPHEN = re.compile(r"v?(\d[\d.]*)\s+-\s+v?(\d[\d.]*)")


def parse_version(text: str) -> Version:
    """Return the numbers of the first version in a text; () if there is none."""
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def is_satisfied(version: Version, text: str) -> bool | None:
    """Return whether the version is in the range; None for a text that is no range.

    The range is one of PEP 440, of Poetry or of npm: alternatives separated by `|` or `||`, each
    with constraints that must all hold. `<=3.11` holds for 3.11.2, as npm and people read it.
    Sources: https://peps.python.org/pep-0440/, https://python-poetry.org/docs/dependency-specification/,
    https://docs.npmjs.com/cli/configuring-npm/package-json#engines
    """
    answers = [_hold_all(version, part) for part in re.split(r"\|\|?", text)]
    known = [answer for answer in answers if answer is not None]
    return any(known) if len(known) == len(answers) else None


def _hold_all(version: Version, text: str) -> bool | None:
    text = HYPHEN.sub(r">=\1 <=\2", text.strip())
    constraints = list(CONSTRAINT.finditer(text))
    if CONSTRAINT.sub("", text).strip(" ,\t\"'") or not constraints:
        return None
    return all(_holds(version, found[1] or "", found[2]) for found in constraints)


def _holds(version: Version, operator: str, text: str) -> bool:
    bound = _parse_bound(text)
    prefix = version[: len(bound)]
    if operator == "<":
        return version < bound
    if operator == "<=":
        return prefix <= bound
    if operator == ">":
        return version > bound
    if operator == ">=":
        return version >= bound
    if operator == "!=":
        return prefix != bound
    return (
        version >= bound
        and version[: len(bound)][: _count_fixed(operator, bound)]
        == (bound[: _count_fixed(operator, bound)])
    )


def _parse_bound(text: str) -> Version:
    """Return the numbers before the first wildcard."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def _count_fixed(operator: str, bound: Version) -> int:
    """Return how many of the bound's numbers the version must have unchanged."""
    if operator == "^":
        return 1
    if operator in ("~=", "~>"):
        return max(1, len(bound) - 1)
    if operator == "~":
        return min(2, len(bound))
    return len(bound)
