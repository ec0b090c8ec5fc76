"""Detects how a tree is built and started, from the files that its framework uses.

It fills in what the manifest does not say. It reads files, and executes nothing.
"""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from host.app.dependencies import node_projects
from host.app.frameworks import django_project
from host.files.source_tree import SourceTree

PYTHON_FILES = ("uv.lock", "requirements.txt", "pyproject.toml", "Pipfile")
FASTAPI_FILES = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
# The call that makes an application, the files in which the framework's command looks for it, the
# requirement that brings this command, and the command.
# Sources: https://fastapi.tiangolo.com/fastapi-cli/, https://flask.palletsprojects.com/cli/
PYTHON_APPS = (
    (b"FastAPI(", FASTAPI_FILES, r"fastapi(-cli|\[[a-z,]*standard)", "fastapi"),
    (b"Flask(", ("app.py", "wsgi.py"), r"\bflask\b", "flask"),
)
# The bundlers of static frontends, by their package, and their output folders.
BUNDLERS = {"vite": "dist", "react-scripts": "build", "@vue/cli-service": "dist", "astro": "dist"}
FRONTEND_FOLDERS = (".", "frontend", "client")
BACKEND_FOLDERS = (".", "backend", "server", "api")
# Packages that answer requests, as a requirement names them.
PYTHON_SERVERS = re.compile(
    r"(?<![\w-])(fastapi|flask|django|starlette|litestar|sanic|aiohttp|tornado|bottle|quart|uvicorn"
    r"|gunicorn|hypercorn|daphne|granian)(?![\w-])",
    re.IGNORECASE,
)
NODE_SERVERS = ("express", "fastify", "koa", "hono", "@nestjs/core", "@hapi/hapi", "next", "nuxt")
# The line to write for a server's package.
EXAMPLES = {
    "fastapi": "web: uvicorn main:app --port $PORT",
    "flask": "web: flask --app app run --port $PORT",
    "django": "web: gunicorn <project>.wsgi --bind 127.0.0.1:$PORT",
    **dict.fromkeys(NODE_SERVERS, "web: node server.js"),
}
FASTAPI_NAME = re.compile(r"^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:fastapi\.)?FastAPI\(", re.MULTILINE)


def read_package_json(tree: SourceTree, folder: str) -> Mapping[str, Any] | None:
    """Return the folder's package.json; None if it is absent or not a JSON object."""
    try:
        data = json.loads(tree.read_bytes(f"{folder}/package.json") or b"")
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def detect_defaults(tree: SourceTree, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of the Manifest that are not `declared` and that the tree's files imply."""
    defaults: dict[str, Any] = {}
    backend = _detect_backend(tree, declared)
    if "web" not in declared:
        defaults |= backend
    elif backend:
        # A command of one's own starts the same framework: the guesses are the same too.
        defaults["health_path"] = backend["health_path"]
        if "backend_build" in backend and _is_built_for(declared, backend):
            defaults["backend_build"] = backend["backend_build"]
    if "frontend_output" not in declared:
        defaults |= _detect_frontend(tree, declared, has_web="web" in defaults or "web" in declared)
    return {key: value for key, value in defaults.items() if key not in declared}


def _detect_backend(tree: SourceTree, declared: Mapping[str, Any]) -> dict[str, Any]:
    named = declared.get("backend_dir")
    for folder in [named] if named else BACKEND_FOLDERS:
        defaults = (
            _detect_django(tree, folder)
            or _detect_python_app(tree, folder)
            or _detect_uvicorn_app(tree, folder)
            or _detect_node_server(tree, folder)
        )
        if defaults:
            return {"backend_dir": folder, **defaults}
    return {}


def _is_built_for(declared: Mapping[str, Any], backend: Mapping[str, Any]) -> bool:
    """Return whether the declared `web` needs the build of the detected backend, as on Heroku.

    The folder must be the same one, and a Node server's own command starts a Node program.
    """
    is_node = backend["web"][0] in node_projects.PROGRAMS
    return backend["backend_dir"] == declared.get("backend_dir", ".") and (
        not is_node or declared["web"][0] in node_projects.PROGRAMS
    )


def _detect_django(tree: SourceTree, folder: str) -> dict[str, Any]:
    """Return how a Django project starts: by gunicorn if it is required, else by runserver."""
    manage = tree.read_bytes(f"{folder}/manage.py")
    if manage is None or b"DJANGO_SETTINGS_MODULE" not in manage:
        return {}
    modules = [
        name for name in tree.list_folders(folder) if tree.has_file(f"{folder}/{name}/wsgi.py")
    ]
    web: tuple[str, ...] = ("python", "manage.py", "runserver", "--noreload", "127.0.0.1:$PORT")
    if re.search(r"\bgunicorn\b", _read_requirements(tree, folder)) and len(modules) == 1:
        web = ("gunicorn", f"{modules[0]}.wsgi", "--bind", "127.0.0.1:$PORT")
    build = django_project.find_collect_static(tree, folder)
    return {
        "web": web,
        "release": ("python", "manage.py", "migrate", "--noinput"),
        "health_path": "/",  # only a project with an oroboros.toml is known to have /health
        **({"backend_build": build} if build else {}),
    }


def _detect_python_app(tree: SourceTree, folder: str) -> dict[str, Any]:
    """Return how a FastAPI or Flask application starts: by its framework's command."""
    required = _read_requirements(tree, folder)
    for call, files, requirement, command in PYTHON_APPS:
        has_app = any(call in (tree.read_bytes(f"{folder}/{name}") or b"") for name in files)
        if has_app and re.search(requirement, required, re.IGNORECASE):
            web = (command, "run", "--host", "127.0.0.1", "--port", "$PORT")
            return {"web": web, "health_path": "/"}
    return {}


def _detect_uvicorn_app(tree: SourceTree, folder: str) -> dict[str, Any]:
    """Return how a FastAPI application starts whose requirements bring uvicorn alone."""
    if not re.search(r"\buvicorn\b", _read_requirements(tree, folder), re.IGNORECASE):
        return {}
    for name in FASTAPI_FILES:
        match = FASTAPI_NAME.search(tree.read_text(f"{folder}/{name}") or "")
        if match:
            module = name.removesuffix(".py").replace("/", ".")
            web = ("uvicorn", f"{module}:{match[1]}", "--host", "127.0.0.1", "--port", "$PORT")
            return {"web": web, "health_path": "/"}
    return {}


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
        server = next((package for package in NODE_SERVERS if package in required), None)
        if server:
            return str(PurePosixPath(folder, "package.json")), server
    return None


def _read_requirements(tree: SourceTree, folder: str) -> str:
    return " ".join(tree.read_text(f"{folder}/{name}") or "" for name in PYTHON_FILES)


def _detect_node_server(tree: SourceTree, folder: str) -> dict[str, Any]:
    """Return how a Node server starts.

    A package with a bundler is none: its `start` script starts the bundler's development server.
    """
    data = read_package_json(tree, folder)
    if data is None or _bundler_output(data) or "start" not in _scripts(data):
        return {}
    build = {"backend_build": (("npm", "run", "build"),)} if "build" in _scripts(data) else {}
    return {"web": ("npm", "start"), "health_path": "/", **build}


def _detect_frontend(
    tree: SourceTree, declared: Mapping[str, Any], *, has_web: bool
) -> dict[str, Any]:
    named = declared.get("frontend_dir")
    for folder in [named] if named else FRONTEND_FOLDERS:
        data = read_package_json(tree, folder)
        output = _bundler_output(data) if data else None
        if data and output and "build" in _scripts(data):
            build = (("npm", "run", "build"),)
            return {"frontend_dir": folder, "frontend_build": build, "frontend_output": output}
    root = named or "."
    if (
        not has_web
        and tree.has_file(f"{root}/index.html")
        and read_package_json(tree, root) is None
    ):
        return {"frontend_dir": str(PurePosixPath(root)), "frontend_output": "."}
    return {}


def _bundler_output(data: Mapping[str, Any]) -> str | None:
    """Return the output folder of the bundler that the package depends on; None without one."""
    required = {**_table(data, "dependencies"), **_table(data, "devDependencies")}
    return next((output for name, output in BUNDLERS.items() if name in required), None)


def _scripts(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return _table(data, "scripts")


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
