"""Which extensions of PostgreSQL a tree's migrations create, and which a manifest may ask for.

Nothing of the tree is executed. The extensions are read in SQL, in the migrations of Django,
Alembic, Rails, Knex, Laravel and others, and in Prisma's schema. A name that is computed is not
found.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from host.config import Config
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

NAME = r"^[a-z_][a-z0-9_-]{0,62}$"
# Which a manifest may ask for unless PREVIEW_ALLOWED_EXTENSIONS says otherwise: those that
# PostgreSQL lets the owner of a database create, so that an application could create them anyway.
# Source: https://www.postgresql.org/docs/current/contrib.html ("trusted").
TRUSTED = (
    "btree_gin btree_gist citext cube dict_int fuzzystrmatch hstore intarray isn lo ltree pg_trgm "
    "pgcrypto seg tablefunc tcn tsm_system_rows tsm_system_time unaccent uuid-ossp"
)
MAX_FILES = 2000
MAX_DEPTH = 12  # of folders
# Folders of no migrations of the application: dependencies, tests, documentation.
OTHER_FOLDERS = frozenset(
    ("node_modules", "vendor", "venv", "dist", "build", "test", "tests", "spec", "docs")
)
SCHEMA_SUFFIXES = (".sql", ".prisma")
CODE_SUFFIXES = (".py", ".rb", ".js", ".ts", ".mjs", ".cjs", ".php", ".go")
# Code is read in such folders, and in files with such names, only: a large tree has much other.
CODE_FOLDERS = frozenset(
    ("migrations", "migrate", "alembic", "versions", "db", "database", "sql", "schema", "drizzle")
)
CODE_NAMES = re.compile(r"migrat|schema|database|^db\b|init", re.IGNORECASE)
COMMENT = re.compile(r"^\s*(?:--|#|//|\*).*$", re.MULTILINE)
CREATE = re.compile(
    r"\bcreate\s+extension\s+(?:if\s+not\s+exists\s+)?(?!if\b)[\\\"'`]*([a-z_][\w-]*)",
    re.IGNORECASE,
)
# Rails: `enable_extension "citext"`; Django: `CreateExtension("citext")`.
CALL = re.compile(r"\b(?:enable_extension|CreateExtension)[\s(]+(?:name\s*=\s*)?[\"']([\w-]+)")
# Source: https://docs.djangoproject.com/en/5.2/ref/contrib/postgres/operations/; pgvector's Python.
DJANGO_OPERATIONS = {
    "BloomExtension": "bloom",
    "BtreeGinExtension": "btree_gin",
    "BtreeGistExtension": "btree_gist",
    "CITextExtension": "citext",
    "CryptoExtension": "pgcrypto",
    "HStoreExtension": "hstore",
    "TrigramExtension": "pg_trgm",
    "UnaccentExtension": "unaccent",
    "VectorExtension": "vector",
}
DJANGO = re.compile(rf"\b({'|'.join(DJANGO_OPERATIONS)})\(")
# Prisma: `extensions = [citext, uuidOssp(map: "uuid-ossp")]`.
PRISMA = re.compile(r"^\s*extensions\s*=\s*\[([^\]]*)\]", re.MULTILINE)
PRISMA_NAME = re.compile(r"(\w+)(?:\(([^)]*)\))?")
PRISMA_MAP = re.compile(r"map\s*:\s*\"([\w-]+)\"")

# Which extension has more of the host than PostgreSQL's own package, and the package.
PACKAGES = {"postgis": "postgresql-{version}-postgis-3", "vector": "postgresql-{version}-pgvector"}


def require_allowed(config: Config, names: Iterable[str]) -> None:
    """Raise ApplicationRefused unless the operator allows all extensions of these names."""
    allowed = config.get("PREVIEW_ALLOWED_EXTENSIONS", TRUSTED).replace(",", " ").split()
    refused = [name for name in names if name not in allowed]
    if refused:
        raise ApplicationRefused(
            "manifest_invalid",
            f"oroboros.toml: [database] extensions: {', '.join(refused)} may not be created on "
            f"this host, which allows {', '.join(allowed)}: take it out, or have an operator add "
            "it to PREVIEW_ALLOWED_EXTENSIONS.",
        )


def find_wanted(tree: SourceTree) -> dict[str, str]:
    """Return the extensions that the tree's migrations create, and for each a file that does."""
    wanted: dict[str, str] = {}
    for path in _list_files(tree):
        for name in _read_names(path, tree.read_source(path)):
            wanted.setdefault(name, path)
    return wanted


def list_lacking(
    wanted: Mapping[str, str], available: Mapping[str, bool], version: int
) -> Iterator[tuple[str, str, str]]:
    """Yield each wanted extension that cannot be created: its name, its file, and what to do.

    `available` has for each extension of the server whether the owner of a database may create it,
    `version` is the server's. Without any it is not known which there are.
    """
    for name, path in wanted.items() if available else ():
        if name not in available:
            package = PACKAGES.get(name, "postgresql-{version}").format(version=version)
            yield name, path, f"apt-get install {package}"
        elif not available[name]:
            yield name, path, f"write trusted = true into {name}.control"


def describe_lacking(
    wanted: Mapping[str, str], available: Mapping[str, bool], version: int
) -> list[str]:
    """Return a sentence for the run's page on each wanted extension that cannot be created."""
    return [
        f"{path} creates the PostgreSQL extension {name}, which the applications' server "
        f"(PostgreSQL {version}) {'lets only a superuser create' if name in available else 'lacks'}"
        f": {remedy}."
        for name, path, remedy in list_lacking(wanted, available, version)
    ]


def _list_files(tree: SourceTree) -> Iterator[str]:
    """Return the files that may have migrations, MAX_FILES at most."""
    return islice(_walk(tree.root), MAX_FILES)


def _walk(root: Path) -> Iterator[str]:
    # By path, unlike `safe_walk`, so that other folders are not entered: only names are read here.
    for path, folders, names in os.walk(root):
        parts = Path(path).relative_to(root).parts
        is_deep = len(parts) >= MAX_DEPTH
        folders[:] = [] if is_deep else sorted(filter(_may_have_code, folders))
        lower = [part.lower() for part in parts]
        yield from (
            str(PurePosixPath(*parts, name))
            for name in sorted(names)
            if _may_have_migrations(lower, name)
        )


def _may_have_code(folder: str) -> bool:
    return folder.lower() not in OTHER_FOLDERS and not folder.startswith(".")


def _may_have_migrations(parts: list[str], name: str) -> bool:
    if name.endswith(SCHEMA_SUFFIXES):
        return True
    is_named = bool(CODE_FOLDERS & set(parts)) or CODE_NAMES.search(name) is not None
    return name.endswith(CODE_SUFFIXES) and is_named


def _read_names(path: str, text: str) -> Iterator[str]:
    text = COMMENT.sub("", text)
    if path.endswith(".prisma"):
        for block in PRISMA.finditer(text):
            for name, options in PRISMA_NAME.findall(block[1]):
                mapped = PRISMA_MAP.search(options)
                yield mapped[1] if mapped else name
        return
    yield from (match[1].lower() for match in CREATE.finditer(text))
    yield from (match[1] for match in CALL.finditer(text))
    yield from (DJANGO_OPERATIONS[match[1]] for match in DJANGO.finditer(text))
