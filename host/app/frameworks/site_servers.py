"""Finds frontends that are servers of their own, such as Next.js, alone or beside a separate API.

It also says which files those write that need no server. It reads files, and executes nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from host.app.command_line import Argv
from host.app.dependencies import node_projects
from host.app.dependencies.project_files import get_table, get_text, join, read_json
from host.app.frameworks import on_demand_pages
from host.app.frameworks.package_scripts import list_build_commands
from host.files.source_tree import SourceTree

# By the package that builds or serves the pages. Each server listens on $PORT.
FRAMEWORKS = {
    "next": "Next.js",
    "nuxt": "Nuxt",
    "@sveltejs/kit": "SvelteKit",
    "@remix-run/serve": "Remix",
    "@react-router/serve": "React Router",
    "@remix-run/dev": "Remix",
    "@react-router/dev": "React Router",
    "@tanstack/react-start": "TanStack Start",
    "@tanstack/solid-start": "TanStack Start",
    "@solidjs/start": "SolidStart",
    "@angular/ssr": "Angular",
    "astro": "Astro",
    "vite": "Vite",
}
FOLDERS = (".", "frontend", "client", "web", "apps/web")
# SvelteKit and Astro are servers with these adapters only.
SVELTE, SVELTE_ADAPTER = "@sveltejs/kit", "@sveltejs/adapter-node"
ASTRO, ASTRO_ADAPTER = "astro", "@astrojs/node"
# What makes a server of the pages of some frameworks.
NITRO, NITRO_SERVER = ("nitro", "nitropack", "vinxi"), ("node", ".output/server/index.mjs")
# Without a script `start`.
COMMANDS: dict[str, Argv] = {
    "nuxt": NITRO_SERVER,
    SVELTE: ("node", "build"),
}
# Their script `start`, if there is one, starts the server and not a bundler's own.
STARTED = ("next", "nuxt", SVELTE, "@remix-run/serve", "@react-router/serve")
# A script that starts a program, perhaps with variables before it: a bundler's server is none.
STARTS_PROGRAM = re.compile(r"^(?:cross-env\s+)?(?:\w+=\S*\s+)*(?:node|tsx|ts-node|bun|vinxi)\b")
SERVER_BUILD = re.compile(r"\bvite build\b.*\s--ssr\b")
# A program of the build, which writes pages with what was built for a server.
RUNS_PROGRAM = re.compile(r"(?:^|[&;|]\s*|\s)(?:node|tsx|ts-node|bun(?! run))\s+[\w./-]")
# The pages are files then, and no server is needed.
NEXT_CONFIGS = ("next.config.js", "next.config.mjs", "next.config.ts")
STATIC_EXPORT = re.compile(r"""\boutput\s*:\s*["']export["']""")
ASTRO_CONFIGS = ("astro.config.mjs", "astro.config.js", "astro.config.ts", "astro.config.mts")
SERVER_OUTPUT = re.compile(r"""^(?!\s*//).*\boutput\s*:\s*["'](?:server|hybrid)["']""", re.M)
MIDDLEWARE = re.compile(r"""\bmode\s*:\s*["']middleware["']""")
# The file in which React Router and Remix are told to render in the browser only.
RENDERING_CONFIGS = {
    "@react-router/dev": ("react-router.config.js", "react-router.config.ts"),
    "@remix-run/dev": ("vite.config.js", "vite.config.ts", "vite.config.mjs", "vite.config.mts"),
}
NO_SERVER_RENDERING = re.compile(r"\bssr\s*:\s*false\b")
# Where the files are written that need no server, by the package that makes them.
OUTPUTS = {
    "next": "out",
    "nuxt": ".output/public",
    SVELTE: "build",
    "@react-router/dev": "build/client",
    "@remix-run/dev": "build/client",
}
ANGULAR = "@angular/cli"
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


def read_folder(tree: SourceTree, folder: str, own: Argv | None = None) -> SiteServer | None:
    """Return the server of the pages of that folder; None if it has none, or needs none.

    `own` is the command of the manifest, which starts what has no command that is known.
    """
    data = read_json(tree, folder, "package.json")
    if find_output(tree, folder):
        return None
    starts_own = own is not None and own[0] in node_projects.PROGRAMS
    for package in _list_frameworks(tree, folder, data):
        argv = _find_command(tree, folder, data, package) or (own if starts_own else None)
        if argv:
            script = "build" if "build" in get_table(data, "scripts") else None
            return SiteServer(package, folder, argv, script)
    return None


def find_problem(tree: SourceTree, folder: str) -> str | None:
    """Return why what the build of that folder makes can neither be served nor started.

    It says what to write. None if there is no such reason.
    """
    data = read_json(tree, folder, "package.json")
    required = _list_required(data)
    where = join(folder, "package.json")
    if SVELTE in required and not {SVELTE_ADAPTER, "@sveltejs/adapter-static"} & required.keys():
        adapter = next((name for name in required if name.startswith("@sveltejs/adapter-")), None)
        advice = f"have {SVELTE_ADAPTER} (a server) or @sveltejs/adapter-static (files)"
        return f"{where}: {adapter} makes nothing that runs here: {advice}" if adapter else None
    package = next(_list_frameworks(tree, folder, data), None)
    # Whether Vite's output has pages of its own is seen after the build only: see `find_note`.
    if package is None or package == "vite" or find_output(tree, folder):
        return None
    if _find_command(tree, folder, data, package):
        return None
    return f"{where}: the build of {FRAMEWORKS[package]} is for a server: {_advise(package)}"


def find_note(tree: SourceTree, folder: str) -> str | None:
    """Return a note on a build of Vite that makes code for a server too, which nothing starts."""
    data = read_json(tree, folder, "package.json")
    if next(_list_frameworks(tree, folder, data), None) != "vite":
        return None
    return (
        f"{join(folder, 'package.json')}: its build makes code for a server too (vite build --ssr),"
        " and only its files are served: if a server renders the pages, write `web: node server.js`"
        " into a Procfile, or a script `start`."
    )


def _advise(package: str) -> str:
    """Return what to write so that the server of that framework starts."""
    if package == ASTRO:
        return f"have {ASTRO_ADAPTER} as adapter with the mode standalone (`npx astro add node`)"
    if package.startswith("@tanstack/"):
        return "require nitro and add its plugin (`nitro/vite`), or write `web: node <its server>`"
    if package.endswith("/dev"):
        serve = package.replace("/dev", "/serve")
        return f"require {serve} and have it as script `start`, or write `web: node server.js`"
    return "write `web: node server.js` into a Procfile, or a script `start`"


def _list_frameworks(
    tree: SourceTree, folder: str, data: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield the packages of FRAMEWORKS in use whose pages come from a server."""
    required = _list_required(data)
    for package in FRAMEWORKS:
        if package not in required:
            continue
        if package == ASTRO:
            is_server = _has_astro_server(tree, folder, data)
        elif package == "vite":
            commands = list_build_commands(get_table(data, "scripts"))
            is_prerendered = any(map(RUNS_PROGRAM.search, commands)) and not starts_program(data)
            is_server = any(map(SERVER_BUILD.search, commands)) and not is_prerendered
        else:
            is_server = True
        if is_server:
            yield package


def _has_astro_server(tree: SourceTree, folder: str, data: Mapping[str, Any] | None) -> bool:
    """Return whether Astro's build is for a server: an adapter alone does not make it one.

    Source: https://docs.astro.build/en/guides/on-demand-rendering/
    """
    if _is_configured(tree, folder, ASTRO_CONFIGS, SERVER_OUTPUT):
        return True
    if not _list_required(data).keys() & {ASTRO_ADAPTER, "@astrojs/vercel"}:
        return False
    starts_entry = "dist/server/entry" in get_text(data, "scripts", "start")
    return starts_entry or on_demand_pages.has_any(tree, folder)


def _find_command(
    tree: SourceTree, folder: str, data: Mapping[str, Any] | None, package: str
) -> Argv | None:
    """Return what starts the server of the pages; None if that is not known."""
    required, scripts = _list_required(data), get_table(data, "scripts")
    if "start" in scripts and (package in STARTED or starts_program(data)):
        return ("npm", "start")
    if package == ASTRO:
        is_middleware = _is_configured(tree, folder, ASTRO_CONFIGS, MIDDLEWARE)
        has_server = ASTRO_ADAPTER in required and not is_middleware
        return ("node", "dist/server/entry.mjs") if has_server else None
    if package == "@angular/ssr":
        script = next((name for name in scripts if name.startswith("serve:ssr")), None)
        return ("npm", "run", script) if script else None
    if package.startswith(("@tanstack/", "@solidjs/")):
        return NITRO_SERVER if required.keys() & set(NITRO) else None
    return COMMANDS.get(package)


def starts_program(data: Mapping[str, Any] | None) -> bool:
    """Return whether the script `start` of a package.json starts a program of its own."""
    return bool(STARTS_PROGRAM.match(str(get_table(data, "scripts").get("start", ""))))


def find_output(tree: SourceTree, folder: str) -> tuple[str, str] | None:
    """Return what writes files that need no server there, and into which folder; else None."""
    data = read_json(tree, folder, "package.json")
    required = _list_required(data)
    package = next((name for name in OUTPUTS if name in required), None)
    if package is None:
        return _find_angular(tree, folder, required)
    if package == "nuxt":
        is_static = "nuxt generate" in str(get_table(data, "scripts").get("build", ""))
    elif package == "next":
        is_static = _is_configured(tree, folder, NEXT_CONFIGS, STATIC_EXPORT)
    elif package == SVELTE:
        is_static = SVELTE_ADAPTER not in required
    else:
        is_static = _is_configured(tree, folder, RENDERING_CONFIGS[package], NO_SERVER_RENDERING)
    return (package, OUTPUTS[package]) if is_static else None


def _find_angular(
    tree: SourceTree, folder: str, required: Mapping[str, Any]
) -> tuple[str, str] | None:
    """Return where Angular's first application is built to; None without one, and with a server.

    Source: https://angular.dev/reference/configs/workspace-config
    """
    projects = get_table(read_json(tree, folder, "angular.json"), "projects")
    name = next(iter(projects), None)
    if ANGULAR not in required or "@angular/ssr" in required or name is None:
        return None
    build = get_table(projects, name, "architect", "build")
    path = get_table(build, "options").get("outputPath") or f"dist/{name}"
    path = path.get("base", f"dist/{name}") if isinstance(path, dict) else path
    is_application = get_text(build, "builder").endswith(":application")
    return ANGULAR, f"{path}/browser" if is_application else str(path)


def _list_required(package: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**get_table(package, "dependencies"), **get_table(package, "devDependencies")}


def _is_configured(
    tree: SourceTree, folder: str, names: tuple[str, ...], option: re.Pattern[str]
) -> bool:
    texts = (tree.read_source(f"{folder}/{name}") for name in names)
    return any(map(option.search, texts))
