"""What an ecosystem's habits say of a tree that does not say it itself. Reads, executes nothing."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from host.files.source_tree import Tree

PYTHON_FILES = ("uv.lock", "requirements.txt", "pyproject.toml")
# What makes an application, the files in which its framework's command looks for one, and what must
# be required for that command to be there.
PYTHON_APPS = (
    (b"FastAPI(", ("main.py", "app.py", "api.py"), r"fastapi(-cli|\[[a-z,]*standard)", "fastapi"),
    (b"Flask(", ("app.py", "wsgi.py"), r"\bflask\b", "flask"),
)
# What builds a static frontend, and where it leaves it.
BUNDLERS = {"vite": "dist", "react-scripts": "build", "@vue/cli-service": "dist", "astro": "dist"}
FRONTEND_FOLDERS = (".", "frontend", "client")
BACKEND_FOLDERS = (".", "backend")


def has_python(tree: Tree, folder: str) -> bool:
    """Tell whether a Python project lies in that folder."""
    return any(tree.has(f"{folder}/{name}") for name in PYTHON_FILES)


def package(tree: Tree, folder: str) -> Mapping[str, Any] | None:
    """Return the folder's package.json, None if it has none that can be read."""
    try:
        data = json.loads(tree.read(f"{folder}/package.json") or b"")
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def fill(tree: Tree, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest's fields that `given` leaves open and habits decide."""
    found: dict[str, Any] = {}
    if "web" not in given:
        found |= _backend(tree, given)
    if "frontend_output" not in given:
        found |= _frontend(tree, given, served="web" in found or "web" in given)
    return {key: value for key, value in found.items() if key not in given}


def _backend(tree: Tree, given: Mapping[str, Any]) -> dict[str, Any]:
    named = given.get("backend_dir")
    for folder in [named] if named else BACKEND_FOLDERS:
        found = _django(tree, folder) or _python_app(tree, folder) or _node_backend(tree, folder)
        if found:
            return {"backend_dir": folder, **found}
    return {}


def _django(tree: Tree, folder: str) -> dict[str, Any]:
    """Return how a Django project starts: by gunicorn where it is required, else runserver."""
    manage = tree.read(f"{folder}/manage.py")
    if manage is None or b"DJANGO_SETTINGS_MODULE" not in manage:
        return {}
    modules = [name for name in tree.folders(folder) if tree.has(f"{folder}/{name}/wsgi.py")]
    web: tuple[str, ...] = ("python", "manage.py", "runserver", "--noreload", "127.0.0.1:$PORT")
    if re.search(r"\bgunicorn\b", _required(tree, folder)) and len(modules) == 1:
        web = ("gunicorn", f"{modules[0]}.wsgi", "--bind", "127.0.0.1:$PORT")
    return {
        "web": web,
        "release": ("python", "manage.py", "migrate", "--noinput"),
        "health_path": "/",  # a project that knows us says so, in a file of ours
    }


def _python_app(tree: Tree, folder: str) -> dict[str, Any]:
    """Return how a FastAPI or Flask application starts: by its framework's own command."""
    required = _required(tree, folder)
    for made, files, needs, command in PYTHON_APPS:
        is_there = any(made in (tree.read(f"{folder}/{name}") or b"") for name in files)
        if is_there and re.search(needs, required, re.IGNORECASE):
            web = (command, "run", "--host", "127.0.0.1", "--port", "$PORT")
            return {"web": web, "health_path": "/"}
    return {}


def _required(tree: Tree, folder: str) -> str:
    return " ".join(tree.text(f"{folder}/{name}") or "" for name in PYTHON_FILES)


def _node_backend(tree: Tree, folder: str) -> dict[str, Any]:
    """Return how a Node server starts; a bundler's `start` is its own development server."""
    data = package(tree, folder)
    if data is None or _bundler(data) or "start" not in _scripts(data):
        return {}
    build = {"backend_build": (("npm", "run", "build"),)} if "build" in _scripts(data) else {}
    return {"web": ("npm", "start"), "health_path": "/", **build}


def _frontend(tree: Tree, given: Mapping[str, Any], *, served: bool) -> dict[str, Any]:
    named = given.get("frontend_dir")
    for folder in [named] if named else FRONTEND_FOLDERS:
        data = package(tree, folder)
        output = _bundler(data) if data else None
        if data and output and "build" in _scripts(data):
            build = (("npm", "run", "build"),)
            return {"frontend_dir": folder, "frontend_build": build, "frontend_output": output}
    root = named or "."
    if not served and tree.has(f"{root}/index.html") and package(tree, root) is None:
        return {"frontend_dir": str(PurePosixPath(root)), "frontend_output": "."}
    return {}


def _bundler(data: Mapping[str, Any]) -> str | None:
    """Return where the bundler that the package depends on leaves its output."""
    wanted = {**_table(data, "dependencies"), **_table(data, "devDependencies")}
    return next((output for name, output in BUNDLERS.items() if name in wanted), None)


def _scripts(data: Mapping[str, Any]) -> Mapping[str, Any]:
    return _table(data, "scripts")


def _table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}
