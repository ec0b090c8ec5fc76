"""Finds migrations that no `release` runs: those that nothing runs, and those that `web` runs.

Without them the database of the application stays empty. Those of `web` wait for locks without the
limit that `release` has. Files show neither for certain, so both are notes.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from host.app.dependencies.project_files import get_text, join, read_json
from host.files.source_tree import SourceTree

# A file that a migration tool reads, the tool's program, and the line that migrates.
TOOLS = (
    ("alembic.ini", "alembic", "alembic upgrade head"),
    ("migrations/alembic.ini", "flask", "flask db upgrade"),
    ("prisma/schema.prisma", "prisma", "prisma migrate deploy"),
    ("drizzle.config.ts", "drizzle-kit", "drizzle-kit migrate"),
    ("knexfile.js", "knex", "knex migrate:latest"),
)
# Those that run before the application answers.
SCRIPTS = ("postinstall", "heroku-postbuild", "build", "prestart", "start")
# Of them those that run with `npm start`.
START_SCRIPTS = ("prestart", "start")
PACKAGE_MANAGERS = ("npm", "pnpm", "yarn", "bun")
SHELLS = ("sh", "bash")
MIGRATES = re.compile(
    r"manage\.py migrate\b|django-admin migrate\b|\balembic (?:-\S+ (?:\S+ )?)?upgrade\b"
    r"|\bdb upgrade\b|\bprisma (?:migrate deploy|db push)\b|\bdrizzle-kit (?:migrate|push)\b"
    r"|\bmigrate:latest\b|\bmigration:run\b|\bdb:(?:migrate|prepare)\b|\bartisan migrate\b"
    r"|\bmigrations:migrate\b"
)
COMMENT = re.compile(r"(?:^|\s)#.*", re.M)


def list_notes(tree: SourceTree, fields: Mapping[str, Any]) -> list[str]:
    """Return a sentence for the first tool whose migrations no `release` runs.

    `fields` are those of the Manifest. A script of the tree that starts the application may run
    them itself in a way that is not recognized, and so may the scripts of a package.
    """
    web = fields.get("web")
    if web is None or "release" in fields:
        return []
    folder = fields.get("backend_dir", ".")
    for where, text in _list_start_texts(tree, folder, web):
        match = MIGRATES.search(COMMENT.sub("", text))
        if match is not None:
            return [
                f"`web` migrates the database when it starts ({match[0]} in {where}). While it "
                "waits for a lock, production's visitors wait behind it, and it is not repeated: "
                "write it into the Procfile as `release:` in place of that."
            ]
    return [] if "/" in web[0] or web[0] in SHELLS else _list_unused_tools(tree, folder)


def _list_start_texts(
    tree: SourceTree, folder: str, web: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Yield where a command that starts the application is written, and its text."""
    yield "its command", " ".join(web)
    if web[0] in PACKAGE_MANAGERS:
        package = read_json(tree, folder, "package.json")
        for name in START_SCRIPTS:
            yield f"{name} of package.json", get_text(package, "scripts", name)
    script = web[0] if "/" in web[0] else web[1] if web[0] in SHELLS and len(web) > 1 else ""
    if script and script[0] not in "-/":
        yield join(folder, script), _read_script(tree, f"{folder}/{script}")


def _read_script(tree: SourceTree, path: str) -> str:
    """Return the text of a script; "" if there is none, or a compiled program."""
    text = tree.read_source(path)
    return "" if "\0" in text else text


def _list_unused_tools(tree: SourceTree, folder: str) -> list[str]:
    package = read_json(tree, folder, "package.json")
    scripts = " ".join(get_text(package, "scripts", name) for name in SCRIPTS)
    for name, program, line in TOOLS:
        if tree.has_file(f"{folder}/{name}") and program not in scripts:
            return [
                f"{join(folder, name)} is there, and nothing says that its migrations run: if they "
                f"create the tables, write `release: {line}` into the Procfile."
            ]
    return []
