"""Finds migrations that no `release` runs, so that the database of the application stays empty.

Detection cannot know whether an application migrates itself when it starts, so this is a note.
"""

from collections.abc import Mapping
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


def list_notes(tree: SourceTree, fields: Mapping[str, Any]) -> list[str]:
    """Return a sentence for the first tool whose migrations nothing runs, as far as files say.

    `fields` are those of the Manifest. A script of the tree that starts the application may run
    them itself, and so may the scripts of a package.
    """
    web = fields.get("web")
    if web is None or "release" in fields or "/" in web[0] or web[0] in ("sh", "bash"):
        return []
    folder = fields.get("backend_dir", ".")
    package = read_json(tree, folder, "package.json")
    scripts = " ".join(get_text(package, "scripts", name) for name in SCRIPTS)
    for name, program, line in TOOLS:
        if tree.has_file(f"{folder}/{name}") and program not in scripts:
            return [
                f"{join(folder, name)} is there, and nothing says that its migrations run: if they "
                f"create the tables, write `release: {line}` into the Procfile."
            ]
    return []
