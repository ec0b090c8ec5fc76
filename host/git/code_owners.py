"""Reads CODEOWNERS files: who owns which paths. Pure.

The patterns are those of .gitignore with GitHub's exceptions; the last line that matches decides:
https://docs.github.com/en/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# The first that exists counts.
LOCATIONS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS", ".gitlab/CODEOWNERS")
MAX_CHARACTERS = 3 * 1024 * 1024  # as GitHub: a longer file counts as none
WORD = re.compile(r"(?:\\.|[^\s\\])+")


@dataclass(frozen=True)
class Rule:
    """A line: its pattern, and the owners of what it matches, which may be none.

    `parts` match a path's parts, one each; None matches any number of them. What follows in the
    path may be anything, with `is_folder` at least one part, with `is_exact` nothing.
    """

    parts: tuple[re.Pattern[str] | None, ...]
    owners: frozenset[str]
    is_folder: bool = False
    is_exact: bool = False

    def matches(self, path: str) -> bool:
        """Return whether the pattern matches the path, in time proportional to both."""
        names = path.split("/")
        ends = {0}  # how many of the names the parts so far can have matched
        for part in self.parts:
            if part is None:
                ends = set(range(min(ends), len(names) + 1)) if ends else ends
            else:
                ends = {end + 1 for end in ends if end < len(names) and part.match(names[end])}
        if self.is_exact:
            return len(names) in ends
        return any(end < len(names) for end in ends) if self.is_folder else bool(ends)


def parse_rules(text: str) -> list[Rule]:
    """Return the rules of a file, in its order. Lines that nothing can match are left out."""
    return list(_parse_lines(text)) if len(text) <= MAX_CHARACTERS else []


def _parse_lines(text: str) -> Iterator[Rule]:
    for line in text.split("\n"):  # splitlines() would also end a line within a comment
        words = WORD.findall(line)
        # `[...]` begins a section of GitLab's; neither forge has negated patterns.
        if words and not words[0].startswith(("#", "[", "^[", "!")):
            yield _compile(words[0], frozenset(_read_owners(words[1:])))


def _read_owners(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if word.startswith("#"):  # a comment up to the end of the line
            return
        if "@" in word:
            yield normalize_owner(word)


def normalize_owner(owner: str) -> str:
    """Return an owner in small letters: `@name`, an e-mail address, or a team as `@/team`."""
    organization, slash, team = owner.lower().rpartition("/")
    return f"@/{team}" if slash and organization.startswith("@") else owner.lower()


def _compile(pattern: str, owners: frozenset[str]) -> Rule:
    path = pattern.strip("/")
    names = path.split("/")
    parts = [None if name == "**" else _translate(name) for name in names]
    if not pattern.startswith("/") and len(names) == 1:
        parts.insert(0, None)
    # Only what is directly in that folder, unlike in .gitignore.
    is_exact = len(names) > 1 and names[-1] == "*"
    return Rule(tuple(parts), owners, pattern.endswith("/"), is_exact)


def _translate(name: str) -> re.Pattern[str]:
    """Return what matches the names that are written so; `[` has no meaning here.

    By fnmatch, whose expressions take no time that grows with the number of stars.
    """
    escaped = re.sub(r"\\(.)|\[", lambda found: f"[{found[1] or found[0]}]", name)
    return re.compile(fnmatch.translate(escaped))


def find_owners(rules: Sequence[Rule], path: str) -> frozenset[str]:
    """Return the owners of a path; none if no rule matches, or the last that does names none."""
    match = next((rule for rule in reversed(rules) if rule.matches(path)), None)
    return frozenset() if match is None else match.owners
