"""Finds a frontend that is a server of its own beside a separate API, such as Next.js with FastAPI.

It reads files, and executes nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from host.app.command_line import Argv
from host.app.dependencies.project_files import get_table, join, read_json
from host.files.source_tree import SourceTree

# By the package that builds or serves the pages. Each server listens on $PORT.
FRAMEWORKS = {
    "next": "Next.js",
    "nuxt": "Nuxt",
    "@sveltejs/kit": "SvelteKit",
    "@remix-run/serve": "Remix",
    "@react-router/serve": "React Router",
}
FOLDERS = (".", "frontend", "client", "web", "apps/web")
# Without a script `start`. SvelteKit is a server with this adapter only.
SVELTE_ADAPTER = "@sveltejs/adapter-node"
COMMANDS: dict[str, Argv] = {
    "nuxt": ("node", ".output/server/index.mjs"),
    "@sveltejs/kit": ("node", "build"),
}
# The pages are files then, and no server is needed.
NEXT_CONFIGS = ("next.config.js", "next.config.mjs", "next.config.ts")
STATIC_EXPORT = re.compile(r"""\boutput\s*:\s*["']export["']""")
PROCESS_TYPE, EVERY_PATH = "web-frontend", "/*"


@dataclass(frozen=True)
class SiteServer:
    """The server of the pages in `folder`; `script` builds it."""

    framework: str
    folder: str
    argv: Argv
    script: str | None

    @property
    def file(self) -> str:
        """The file that says so."""
        return join(self.folder, "package.json")

    def build_fields(self, routes: Mapping[str, str]) -> dict[str, Any]:
        """Return fields of the Manifest; `tables` are those of `background.Declarations`.

        `routes` are those of the manifest, which count before the route of the server.
        """
        source = f"{self.framework}: {self.file}"
        table = {"run": self.argv, "directory": self.folder, "port": True, "source": source}
        return {
            "frontend_dir": self.folder,
            **({"frontend_build": (("npm", "run", self.script),)} if self.script else {}),
            "tables": {PROCESS_TYPE: table},
            "routes": {EVERY_PATH: PROCESS_TYPE, **routes},
        }


def is_site_framework(framework: str) -> bool:
    """Return whether a backend that was recognized by that package serves pages itself."""
    return framework in FRAMEWORKS


def find_site_server(tree: SourceTree, backend_dir: str, named: str | None) -> SiteServer | None:
    """Return the server of pages in `named`, else in one of FOLDERS; not the backend's folder."""
    for folder in [named] if named else FOLDERS:
        found = None if folder == backend_dir else _read_folder(tree, folder)
        if found:
            return found
    return None


def _read_folder(tree: SourceTree, folder: str) -> SiteServer | None:
    data = read_json(tree, folder, "package.json")
    required = {**get_table(data, "dependencies"), **get_table(data, "devDependencies")}
    package = next((name for name in FRAMEWORKS if name in required), None)
    scripts = get_table(data, "scripts")
    if package is None or _is_exported(tree, folder, package, scripts):
        return None
    argv = ("npm", "start") if "start" in scripts else COMMANDS.get(package)
    if argv is None or (package == "@sveltejs/kit" and SVELTE_ADAPTER not in required):
        return None
    script = "build" if "build" in scripts else None
    return SiteServer(FRAMEWORKS[package], folder, argv, script)


def _is_exported(tree: SourceTree, folder: str, package: str, scripts: Mapping[str, Any]) -> bool:
    """Return whether the build writes files that need no server."""
    if package == "nuxt":
        return "nuxt generate" in str(scripts.get("build", ""))
    texts = (tree.read_text(f"{folder}/{name}") or "" for name in NEXT_CONFIGS)
    return package == "next" and any(map(STATIC_EXPORT.search, texts))
