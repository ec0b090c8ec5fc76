"""One file of an application's manifest, and the refusal that says where in it a mistake is."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from host.errors import ApplicationRefused, Refused

KeyPath = tuple[str, ...]


@dataclass(frozen=True)
class ManifestFile:
    """A file's name and text."""

    name: str
    text: str

    def refuse(
        self, problem: str, *key: str, line: int | None = None, code: str = "manifest_invalid"
    ) -> Refused:
        """Return a refusal (400) that names file, line and key, and says what to write.

        Without `line` it is the line that sets `key`, else that of the nearest table around it.
        """
        line = line or self.find_line(key)
        dotted = _escape(".".join(key))
        where = f"{self.name} line {line}" + (f", {dotted}" if dotted else "")
        fields = {"file": self.name, "line": str(line), "key": dotted}
        stop = "" if problem.endswith("?") else "."
        return ApplicationRefused(code, f"{where}: {_escape(problem)}{stop}", fields=fields)

    def find_line(self, key: KeyPath) -> int:
        """Return the number of the line that sets `key` or the nearest table around it, else 1."""
        keys = list(_json_keys(self.text) if self.name.endswith(".json") else _toml_keys(self.text))
        for length in range(len(key), 0, -1):
            for number, path in keys:
                if path[:length] == key[:length]:
                    return number
        return 1


def _escape(text: str) -> str:
    """Escape what cannot be printed: a refusal quotes names of the file, and they may hold it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# The parsers of TOML and JSON keep no positions, so the lines are found by patterns. A string that
# looks like a key may mislead them; then the refusal names a wrong line, and still the right key.


def _toml_keys(text: str) -> Iterator[tuple[int, KeyPath]]:
    """Yield the line and the whole path of each table and key."""
    table: KeyPath = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if match := re.match(r"\s*\[+([^\]]+)\]", line):
            table = _split_dotted_key(match[1])
            yield number, table
        elif match := re.match(r"""\s*((?:[\w.-]|"[^"]*"|'[^']*')+)\s*=""", line):
            yield number, table + _split_dotted_key(match[1])


def _split_dotted_key(key: str) -> KeyPath:
    # A dot within quotes belongs to the part, as in `"/socket.io/*"`.
    parts = re.findall(r"""(?:"[^"]*"|'[^']*'|[^.])+""", key)
    return tuple(part.strip(" \t\"'") for part in parts)


def _json_keys(text: str) -> Iterator[tuple[int, KeyPath]]:
    """Yield the line and the whole path of each key, by the nesting of the braces."""
    path: list[str] = []
    key = ""
    for match in re.finditer(r'"((?:[^"\\]|\\.)*)"\s*:|[{}]', text):
        if match[0] == "{":
            path.append(key)
        elif match[0] == "}":
            del path[-1:]
        else:
            key = match[1]
            yield text.count("\n", 0, match.start()) + 1, (*path[1:], key)
