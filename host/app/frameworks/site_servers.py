"""Finds frontends that are servers of their own, such as Next.js, alone or beside a separate API.

It also says which files those write that need no server. It reads files, and executes nothing.
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
# SvelteKit is a server with this adapter only.
SVELTE, SVELTE_ADAPTER = "@sveltejs/kit", "@sveltejs/adapter-node"
# Without a script `start`.
COMMANDS: dict[str, Argv] = {
    "nuxt": ("node", ".output/server/index.mjs"),
    SVELTE: ("node", "build"),
}
# The pages are files then, and no server is needed.
NEXT_CONFIGS = ("next.config.js", "next.config.mjs", "next.config.ts")
STATIC_EXPORT = re.compile(r"""\boutput\s*:\s*["']export["']""")
REACT_ROUTER_CONFIGS = ("react-router.config.js", "react-router.config.ts")
NO_SERVER_RENDERING = re.compile(r"\bssr\s*:\s*false\b")
# Where the files are written that need no server, by the package that makes them.
OUTPUTS = {
    "next": "out",
    "nuxt": ".output/public",
    SVELTE: "build",
    "@react-router/dev": "build/client",
}
PROCESS_TYPE, EVERY_PATH = "web-frontend", "/*"


@dataclass(frozen=True)
class SiteServer:
    """The server of the pages in `folder`; `script` builds it, `package` says what it is."""

    package: str
    folder: str
    argv: Argv
    script: str | None

    @property
    def framework(self) -> str:
        """The name of what serves the pages."""
        return FRAMEWORKS[self.package]

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
        found = None if folder == backend_dir else read_folder(tree, folder)
        if found:
            return found
    return None


def read_folder(tree: SourceTree, folder: str) -> SiteServer | None:
    """Return the server of the pages of that folder; None if it has none, or needs none."""
    data = read_json(tree, folder, "package.json")
    required = _list_required(data)
    package = next((name for name in FRAMEWORKS if name in required), None)
    if package is None or find_output(tree, folder):
        return None
    scripts = get_table(data, "scripts")
    argv = ("npm", "start") if "start" in scripts else COMMANDS.get(package)
    if argv is None:
        return None
    return SiteServer(package, folder, argv, "build" if "build" in scripts else None)


def find_output(tree: SourceTree, folder: str) -> tuple[str, str] | None:
    """Return what writes files that need no server there, and into which folder; else None."""
    data = read_json(tree, folder, "package.json")
    required = _list_required(data)
    package = next((name for name in OUTPUTS if name in required), None)
    if package is None:
        return None
    if package == "nuxt":
        is_static = "nuxt generate" in str(get_table(data, "scripts").get("build", ""))
    elif package == "next":
        is_static = _is_configured(tree, folder, NEXT_CONFIGS, STATIC_EXPORT)
    elif package == SVELTE:
        is_static = SVELTE_ADAPTER not in required
    else:
        is_static = _is_configured(tree, folder, REACT_ROUTER_CONFIGS, NO_SERVER_RENDERING)
    return (package, OUTPUTS[package]) if is_static else None


def _list_required(package: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**get_table(package, "dependencies"), **get_table(package, "devDependencies")}


def _is_configured(
    tree: SourceTree, folder: str, names: tuple[str, ...], option: re.Pattern[str]
) -> bool:
    texts = (tree.read_text(f"{folder}/{name}") or "" for name in names)
    return any(map(option.search, texts))
