"""Detects how a tree is built and started, from the files that its framework uses.

It fills in what the manifest does not say. It reads files, and executes nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from host.app.dependencies import node_projects, python_projects
from host.app.dependencies.project_files import join
from host.app.frameworks import django_project, other_languages, python_apps, site_servers
from host.app.frameworks import routes as framework_routes
from host.app.frameworks.python_requirements import read_requirements
from host.files.source_tree import SourceTree

PYTHON_FILES = ("uv.lock", "requirements.txt", "pyproject.toml", "Pipfile")
# The bundlers of static frontends, by their package, and their output folders.
BUNDLERS = {"vite": "dist", "react-scripts": "build", "@vue/cli-service": "dist", "astro": "dist"}
# The usual folders of each part, those of workspaces after the others.
FRONTEND_FOLDERS = (
    *(".", "frontend", "client"),
    *("apps/web", "apps/frontend", "apps/client", "packages/web", "packages/frontend"),
)
BACKEND_FOLDERS = (
    *(".", "backend", "server", "api"),
    *("apps/api", "apps/backend", "apps/server", "packages/api", "packages/server"),
)
# Packages that answer requests, as a requirement names them.
PYTHON_SERVERS = re.compile(
    r"(?<![\w-])(fastapi|flask|django|starlette|litestar|sanic|aiohttp|tornado|bottle|quart|uvicorn"
    r"|falcon|pyramid|cherrypy|robyn|blacksheep|streamlit|gradio|dash|nicegui|waitress|cheroot|uwsgi"
    r"|gunicorn|hypercorn|daphne|granian)(?![\w-])",
    re.IGNORECASE,
)
NODE_SERVERS = ("express", "fastify", "koa", "hono", "@nestjs/core", "@hapi/hapi", "next", "nuxt")
# The line to write for a server's package.
EXAMPLES = {
    "fastapi": "web: uvicorn main:app --port $PORT",
    "flask": "web: flask --app app run --port $PORT",
    "django": "web: gunicorn <project>.wsgi --bind 127.0.0.1:$PORT",
    "litestar": "web: litestar --app main:app run --port $PORT",
    "starlette": "web: uvicorn main:app --port $PORT",
    "uvicorn": "web: uvicorn main:app --port $PORT",
    **dict.fromkeys(NODE_SERVERS, "web: node server.js"),
}


# A script that starts the package in another folder.
STARTS_FOLDER = re.compile(r"(?:\bcd |--prefix[ =]|--cwd[ =]|\s-C )")


def read_package_json(tree: SourceTree, folder: str) -> Mapping[str, Any] | None:
    """Return the folder's package.json; None if it is absent or not a JSON object."""
    try:
        data = json.loads(tree.read_bytes(f"{folder}/package.json") or b"")
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


# What Heroku's buildpack for Python runs after it has installed the packages.
# Source: https://devcenter.heroku.com/articles/python-support
POST_COMPILE = "bin/post_compile"
# Scripts that build a Node server; Heroku runs only the first that exists.
# Source: https://devcenter.heroku.com/articles/nodejs-support
NODE_BUILDS = ("heroku-postbuild", "build")


@dataclass(frozen=True)
class Detected:
    """What the files of a framework imply: fields of the Manifest, and the files that say so.

    `files` are those that decided, the application's own first.
    """

    framework: str
    fields: Mapping[str, Any]
    files: tuple[str, ...]


@dataclass(frozen=True)
class Defaults:
    """Fields of the Manifest that a tree's files imply, and for each the file that says so."""

    fields: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def add(self, found: Detected, fields: Mapping[str, Any]) -> None:
        """Add fields that `found` implies."""
        self.fields.update(fields)
        source = f"{found.framework}: {', '.join(found.files)}"
        self.sources.update(dict.fromkeys(fields, source))


def detect_defaults(
    tree: SourceTree, declared: Mapping[str, Any], *, has_servers: bool = False
) -> Defaults:
    """Return what is not `declared` and what the tree's files imply.

    `has_servers`: the manifest has processes with a port itself, so none is detected.
    """
    defaults = Defaults()
    backend = _detect_backend(tree, declared)
    if backend is not None:
        defaults.add(backend, _select_backend_fields(backend, declared))
        paths = framework_routes.find_routes(
            tree, backend.framework, backend.fields["backend_dir"], backend.files
        )
        defaults.add(backend, {"detected_routes": tuple(paths)})
    _add_post_compile(tree, declared, defaults)
    if backend is not None and not has_servers and "frontend_output" not in declared:
        _add_site_server(tree, backend, declared, defaults)
    has_own_assets = backend is not None and backend.framework in other_languages.WITH_ASSETS
    serves_pages = backend is not None and site_servers.is_site_framework(backend.framework)
    is_served = has_own_assets or serves_pages or "tables" in defaults.fields
    if "frontend_output" not in declared and not is_served:
        frontend = _detect_frontend(
            tree, declared, has_web="web" in {**declared, **defaults.fields}
        )
        if frontend is not None:
            stated = {key: value for key, value in frontend.fields.items() if key not in declared}
            defaults.add(frontend, stated)
    return defaults


def _add_site_server(
    tree: SourceTree, backend: Detected, declared: Mapping[str, Any], defaults: Defaults
) -> None:
    """Add a frontend that is a server of its own, if the backend is another application."""
    folder = {**declared, **backend.fields}["backend_dir"]
    is_node = backend.fields["web"][0] in node_projects.PROGRAMS
    # A `web` of one's own that starts a Node program may be the frontend itself.
    starts_site = not is_node and declared.get("web", ("",))[0] in node_projects.PROGRAMS
    if site_servers.is_site_framework(backend.framework) or starts_site:
        return
    site = site_servers.find_site_server(tree, folder, declared.get("frontend_dir"))
    if site is None:
        return
    fields = site.build_fields(declared.get("routes", {}))
    stated = {key for key in fields if key in declared and key != "routes"}
    found = {key: value for key, value in fields.items() if key not in stated}
    defaults.add(Detected(site.framework, fields, (site.file,)), found)


def _add_post_compile(tree: SourceTree, declared: Mapping[str, Any], defaults: Defaults) -> None:
    """Add the hook of a Python application as its last build, unless it declares its builds."""
    folder = {**declared, **defaults.fields}.get("backend_dir", ".")
    path = join(folder, POST_COMPILE)
    has_hook = tree.has_file(path) and python_projects.has_python_project(tree, folder)
    if has_hook and "backend_build" not in declared:
        builds = (*defaults.fields.get("backend_build", ()), (f"./{POST_COMPILE}",))
        earlier = defaults.sources.get("backend_build", "")
        defaults.fields["backend_build"] = builds
        defaults.sources["backend_build"] = ", ".join(filter(None, [earlier, path]))


def _select_backend_fields(backend: Detected, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not declared of the detected backend."""
    fields = backend.fields
    if "web" in declared:
        # A command of one's own starts the same framework: the guesses are the same too.
        names = ["health_path", "env_detected", "env_generated"]
        names += ["backend_build"] if _is_built_for(declared, fields) else []
        fields = {name: fields[name] for name in names if name in fields}
    return {"framework": backend.framework} | {
        # Generated secrets add to those of app.json.
        key: value
        for key, value in fields.items()
        if key not in declared or key == "env_generated"
    }


def _detect_backend(tree: SourceTree, declared: Mapping[str, Any]) -> Detected | None:
    named = declared.get("backend_dir")
    first = None
    for folder in [named] if named else _order_folders(tree, BACKEND_FOLDERS):
        found = (
            _detect_django(tree, folder)
            or _detect_python_app(tree, folder)
            or _detect_node_server(tree, folder)
            or _detect_site(tree, folder, declared)
            or _detect_other_language(tree, folder)
        )
        if found:
            fields = {"backend_dir": folder, **found.fields}
            found = Detected(found.framework, fields, found.files)
            # What serves pages is the frontend of an API in another folder.
            if not site_servers.is_site_framework(found.framework):
                return found
            first = first or found
    return first


def _order_folders(tree: SourceTree, folders: Sequence[str]) -> list[str]:
    """Return the folders in the order in which they are looked at.

    The root of a workspace comes last, and a root whose script `start` goes into another folder:
    they start other packages.
    """
    start = str(_scripts(read_package_json(tree, ".") or {}).get("start", ""))
    is_last = node_projects.is_workspace(tree, ".") or bool(STARTS_FOLDER.search(start))
    return sorted(folders, key=lambda one: one == "." and is_last)


def _is_built_for(declared: Mapping[str, Any], backend: Mapping[str, Any]) -> bool:
    """Return whether the declared `web` needs the build of the detected backend, as on Heroku.

    The folder must be the same one, and a Node server's own command starts a Node program.
    """
    is_node = backend["web"][0] in node_projects.PROGRAMS
    return backend["backend_dir"] == declared.get("backend_dir", ".") and (
        not is_node or declared["web"][0] in node_projects.PROGRAMS
    )


def _detect_django(tree: SourceTree, folder: str) -> Detected | None:
    """Return how a Django project starts: by gunicorn if it is required, else by runserver.

    One with channels has WebSockets, which gunicorn cannot serve: its ASGI server starts it.
    """
    if "DJANGO_SETTINGS_MODULE" not in tree.read_source(f"{folder}/manage.py"):
        return None
    modules = [
        name for name in tree.list_folders(folder) if tree.has_file(f"{folder}/{name}/wsgi.py")
    ]
    web: tuple[str, ...] = ("python", "manage.py", "runserver", "--noreload", "127.0.0.1:$PORT")
    if re.search(r"\bgunicorn\b", _read_requirements(tree, folder)) and len(modules) == 1:
        web = ("gunicorn", f"{modules[0]}.wsgi", "--bind", "127.0.0.1:$PORT")
        if django_project.uses_channels(tree, folder, f"{folder}/{modules[0]}/asgi.py"):
            web = _find_asgi_server(tree, folder, f"{modules[0]}.asgi:application") or web
    build = django_project.find_collect_static(tree, folder)
    fields = {
        "web": web,
        "release": ("python", "manage.py", "migrate", "--noinput"),
        "health_path": "/",  # only a project with an oroboros.toml is known to have /health
        **({"backend_build": build} if build else {}),
    }
    return Detected("Django", fields, (join(folder, "manage.py"),))


def _find_asgi_server(tree: SourceTree, folder: str, application: str) -> tuple[str, ...] | None:
    """Return the command of the ASGI server among the requirements; None if there is none.

    None too if channels is not among them.
    """
    required = read_requirements(tree, folder).all
    if "channels" not in required:
        return None
    if required & {"daphne", "channels[daphne]"}:
        # Unlike the others, it believes the proxy's X-Forwarded-Proto with this option only.
        return ("daphne", "--proxy-headers", "-b", "127.0.0.1", "-p", "$PORT", application)
    if required & {"uvicorn", "uvicorn-worker"}:
        return ("uvicorn", application, "--host", "127.0.0.1", "--port", "$PORT")
    return None


def _detect_python_app(tree: SourceTree, folder: str) -> Detected | None:
    direct = read_requirements(tree, folder).direct
    found = python_apps.detect(tree, folder, _read_requirements(tree, folder), direct)
    return Detected(found[0], found[1], (found[2],)) if found else None


def find_unknown_backend(tree: SourceTree, fields: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return a file that requires a server's package, and the package; None if there is none."""
    named = [fields[key] for key in ("backend_dir", "frontend_dir") if key in fields]
    for folder in dict.fromkeys([*named, *BACKEND_FOLDERS]):
        for name in PYTHON_FILES:
            match = PYTHON_SERVERS.search(tree.read_text(f"{folder}/{name}") or "")
            if match:
                return str(PurePosixPath(folder, name)), match[1].lower()
        data = read_package_json(tree, folder)
        required = _table(data or {}, "dependencies")
        static = site_servers.find_output(tree, folder) or ("", "")
        named_servers = (name for name in NODE_SERVERS if name in required and name != static[0])
        server = next(named_servers, None)
        if server:
            return str(PurePosixPath(folder, "package.json")), server
    return None


def _read_requirements(tree: SourceTree, folder: str) -> str:
    return " ".join(tree.read_text(f"{folder}/{name}") or "" for name in PYTHON_FILES)


def _detect_node_server(tree: SourceTree, folder: str) -> Detected | None:
    """Return how a Node server starts.

    The `start` script of a package with a bundler starts the bundler's development server, unless
    it starts a program and the package requires a server: the frontend is built to files then.
    """
    data = read_package_json(tree, folder)
    if data is None or "start" not in _scripts(data):
        return None
    required = _table(data, "dependencies")
    server = next((package for package in NODE_SERVERS if package in required), "")
    files = _find_files(tree, folder, data)
    site = site_servers.read_folder(tree, folder)
    if site and (files or site.argv != ("npm", "start")):
        return None
    if files and not (server and site_servers.starts_program(data)):
        return None
    script = next((name for name in NODE_BUILDS if name in _scripts(data)), None)
    build = {"backend_build": (("npm", "run", script),)} if script and not files else {}
    # Nest's own `start` compiles first, into a tree that is read-only.
    has_compiled = server == "@nestjs/core" and "start:prod" in _scripts(data)
    web = ("npm", "run", "start:prod") if has_compiled else ("npm", "start")
    fields = {"web": web, "health_path": "/", **build}
    framework = site.package if site else server or "Node.js"
    return Detected(framework, fields, (join(folder, "package.json"),))


def _detect_site(tree: SourceTree, folder: str, declared: Mapping[str, Any]) -> Detected | None:
    """Return how the server of a framework starts whose package has a bundler or no `start`."""
    site = site_servers.read_folder(tree, folder, declared.get("web"))
    if site is None:
        return None
    build = {"backend_build": (("npm", "run", site.script),)} if site.script else {}
    return Detected(site.package, {"web": site.argv, "health_path": "/", **build}, (site.file,))


def _detect_other_language(tree: SourceTree, folder: str) -> Detected | None:
    found = other_languages.detect(tree, folder)
    if found is None:
        return None
    framework, fields, files = found
    data = read_package_json(tree, folder)
    if framework in other_languages.WITH_ASSETS and data and "build" in _scripts(data):
        builds = (("npm", "run", "build"), *fields.get("backend_build", ()))
        fields["backend_build"] = builds
    return Detected(framework, fields, files)


def _detect_frontend(
    tree: SourceTree, declared: Mapping[str, Any], *, has_web: bool
) -> Detected | None:
    named = declared.get("frontend_dir")
    for folder in [named] if named else _order_folders(tree, FRONTEND_FOLDERS):
        data = read_package_json(tree, folder)
        files = _find_files(tree, folder, data) if data else None
        if data and files and "build" in _scripts(data):
            fields = {
                "frontend_dir": folder,
                "frontend_build": (("npm", "run", "build"),),
                "frontend_output": files[1],
            }
            return Detected(files[0], fields, (join(folder, "package.json"),))
    root = named or "."
    page = join(root, "index.html")
    if not has_web and tree.has_file(page) and read_package_json(tree, root) is None:
        fields = {"frontend_dir": str(PurePosixPath(root)), "frontend_output": "."}
        return Detected("static site", fields, (page,))
    return None


def _find_files(tree: SourceTree, folder: str, data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the bundler that the package depends on, and its output folder; None without one."""
    required = {**_table(data, "dependencies"), **_table(data, "devDependencies")}
    bundler = next((name for name in BUNDLERS if name in required), None)
    return (
        site_servers.find_output(tree, folder) or (bundler and (bundler, BUNDLERS[bundler])) or None
    )


def _scripts(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return _table(data, "scripts")


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
