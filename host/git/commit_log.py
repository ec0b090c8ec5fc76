"""How git prints a history, and what Oroboros reads of it: pure."""

from collections.abc import Iterable
from dataclasses import dataclass

# Of a commit that is listed. Git cuts the fields (and pads shorter ones): a subject may have as
# many bytes as a file.
AUTHOR_COLUMNS = 200
SUBJECT_COLUMNS = 1000
FORMAT = f"--format=%H%x00%<({AUTHOR_COLUMNS},trunc)%aN%x00%aI%x00%<({SUBJECT_COLUMNS},trunc)%s"
# The e-mail addresses of who wrote and of who committed it, on a line each.
ADDRESS_FORMAT = "--format=%<(254,trunc)%ae%n%<(254,trunc)%ce"


@dataclass(frozen=True)
class LogEntry:
    """One commit of a history; `at` is ISO 8601 with its offset."""

    sha: str
    author: str
    at: str
    subject: str


def parse_log(lines: Iterable[str]) -> list[LogEntry]:
    """Return the commits that git printed in FORMAT."""
    return [LogEntry(*(part.rstrip(" ") for part in line.split("\0"))) for line in lines]
