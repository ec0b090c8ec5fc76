"""Recognizes Flask, FastAPI and other ASGI applications, and says how each starts."""

import re
from collections.abc import Iterator
from typing import Any

from host.app.command_line import Argv
from host.app.dependencies.project_files import join
from host.files.source_tree import SourceTree

# The framework, fields of the Manifest, and the file that says so.
Found = tuple[str, dict[str, Any], str]

# Where the command of FastAPI looks for the application, and where people have it for uvicorn.
# Source: https://fastapi.tiangolo.com/fastapi-cli/
FASTAPI_FILES = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
FASTAPI_COMMAND = re.compile(r"fastapi(-cli|\[[a-z,]*standard)", re.IGNORECASE)
UVICORN = re.compile(r"\b(?:uvicorn\b|litestar\[[a-z,]*standard)", re.IGNORECASE)
ASGI_FRAMEWORKS = "FastAPI", "Starlette", "Litestar", "Quart"
# The variable that has the application, made by its class or by a factory.
ASGI_NAME = re.compile(
    rf"^(\w+)(?:\s*:\s*\w+)?\s*=\s*(?:\w+\.)?({'|'.join(ASGI_FRAMEWORKS)})\(", re.MULTILINE
)
FACTORY_NAME = re.compile(
    r"^(app|application|api)(?:\s*:\s*[\w.]+)?\s*=\s*(?:\w+\.)*(?:create|make|build|get)_\w+\(",
    re.MULTILINE,
)
# `flask run` looks into the first two itself, and finds the factories `create_app` and `make_app`.
# Source: https://flask.palletsprojects.com/cli/
FLASK_OWN_FILES = ("app.py", "wsgi.py")
FLASK_FILES = ("main.py", "run.py", "server.py", "autoapp.py", "application.py")
FLASK = re.compile(r"\bflask\b", re.IGNORECASE)
FLASK_APP = re.compile(r"\bFlask\(|\b(?:create|make)_app\(")
NO_PACKAGES = ("tests", "test", "migrations", "docs")


def detect(tree: SourceTree, folder: str, required: str) -> Found | None:
    """Return how the application of the folder starts; `required` is the text of its lists."""
    return (
        _detect_fastapi(tree, folder, required)
        or (_detect_flask(tree, folder) if FLASK.search(required) else None)
        or (_detect_uvicorn(tree, folder, required) if UVICORN.search(required) else None)
    )


def _detect_fastapi(tree: SourceTree, folder: str, required: str) -> Found | None:
    """Return how FastAPI's own command starts an application, if it is installed."""
    if not FASTAPI_COMMAND.search(required):
        return None
    for name in FASTAPI_FILES:
        text = tree.read_text(f"{folder}/{name}") or ""
        if "FastAPI(" in text or FACTORY_NAME.search(text):
            web = ("fastapi", "run", "--host", "127.0.0.1", "--port", "$PORT")
            return "FastAPI", _fields(web), join(folder, name)
    return None


def _detect_flask(tree: SourceTree, folder: str) -> Found | None:
    for name, option in _list_flask_places(tree, folder):
        if FLASK_APP.search(tree.read_text(f"{folder}/{name}") or ""):
            web = ("flask", *option, "run", "--host", "127.0.0.1", "--port", "$PORT")
            return "Flask", _fields(web), join(folder, name)
    return None


def _list_flask_places(tree: SourceTree, folder: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield where an application may be, and the options with which Flask's command finds it."""
    for name in FLASK_OWN_FILES:
        yield name, ()
    for name in FLASK_FILES:
        yield name, ("--app", name.removesuffix(".py"))
    for parent in ("", "src/"):
        for package in sorted(tree.list_folders(f"{folder}/{parent}")):
            if package not in NO_PACKAGES:
                yield f"{parent}{package}/__init__.py", ("--app", f"{parent}{package}")


def _detect_uvicorn(tree: SourceTree, folder: str, required: str) -> Found | None:
    """Return how an ASGI application starts whose requirements bring uvicorn."""
    for name in FASTAPI_FILES:
        text = tree.read_text(f"{folder}/{name}") or ""
        made, factory = ASGI_NAME.search(text), FACTORY_NAME.search(text)
        framework = made[2] if made else _name_framework(required)
        if (match := made or factory) and framework:
            module = name.removesuffix(".py").replace("/", ".")
            app = f"{module}:{match[1]}"
            web = ("uvicorn", app, "--host", "127.0.0.1", "--port", "$PORT")
            return framework, _fields(web), join(folder, name)
    return None


def _name_framework(required: str) -> str | None:
    """Return the framework among the requirements whose factory an application may call."""
    found = (name for name in ASGI_FRAMEWORKS if re.search(rf"\b{name}\b", required, re.IGNORECASE))
    return next(found, None)


def _fields(web: Argv) -> dict[str, Any]:
    return {"web": web, "health_path": "/"}
