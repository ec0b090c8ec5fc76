"""Recognizes Flask, FastAPI and other ASGI applications, and says how each starts."""

import re
from collections.abc import Callable, Iterator, Set
from typing import Any

from host.app.command_line import Argv
from host.app.dependencies.project_files import join
from host.files.source_tree import SourceTree

# The framework, fields of the Manifest, and the file that says so.
Found = tuple[str, dict[str, Any], str]
Finder = Callable[[SourceTree, str, str, Set[str]], Found | None]

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
FLASK_CLASS = re.compile(r"\bFlask\(")
FLASK_FACTORY = re.compile(r"\b(?:create|make)_app\(")
NO_PACKAGES = ("tests", "test", "migrations", "docs")


def detect(tree: SourceTree, folder: str, required: str, direct: Set[str]) -> Found | None:
    """Return how the application of the folder starts; `required` is the text of its lists.

    `direct` are the names of what it requires itself: a lock file names what others bring too.
    """
    finders: list[Finder] = [_detect_fastapi, _detect_flask, _detect_uvicorn]
    if direct & {name.lower() for name in ASGI_FRAMEWORKS}:
        finders = [_detect_fastapi, _detect_uvicorn, _detect_flask]
    found = (find(tree, folder, required, direct) for find in finders)
    return next(filter(None, found), None)


def _detect_fastapi(tree: SourceTree, folder: str, required: str, direct: Set[str]) -> Found | None:
    """Return how FastAPI's own command starts an application, if it is installed."""
    if not FASTAPI_COMMAND.search(required):
        return None
    for name in FASTAPI_FILES:
        text = tree.read_source(f"{folder}/{name}")
        is_factory = FACTORY_NAME.search(text) and _is_meant("fastapi", direct, text)
        if "FastAPI(" in text or is_factory:
            web = ("fastapi", "run", "--host", "127.0.0.1", "--port", "$PORT")
            return "FastAPI", _fields(web), join(folder, name)
    return None


def _detect_flask(tree: SourceTree, folder: str, required: str, direct: Set[str]) -> Found | None:
    if not _names("flask", required):
        return None
    for name, option in _list_flask_places(tree, folder):
        text = tree.read_source(f"{folder}/{name}")
        is_factory = FLASK_FACTORY.search(text) and _is_meant("flask", direct, text)
        if FLASK_CLASS.search(text) or is_factory:
            web = ("flask", *option, "run", "--host", "127.0.0.1", "--port", "$PORT")
            return "Flask", _fields(web), join(folder, name)
    return None


def _is_meant(framework: str, direct: Set[str], text: str) -> bool:
    """Return whether a factory without its class makes an application of that framework."""
    return framework in direct or _names(framework, text)


def _names(framework: str, text: str) -> bool:
    return bool(re.search(rf"\b{framework}\b", text, re.IGNORECASE))


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


def _detect_uvicorn(tree: SourceTree, folder: str, required: str, direct: Set[str]) -> Found | None:
    """Return how an ASGI application starts whose requirements bring uvicorn."""
    for name in FASTAPI_FILES if UVICORN.search(required) else ():
        text = tree.read_source(f"{folder}/{name}")
        made = ASGI_NAME.search(text)
        factory = None if FLASK_CLASS.search(text) else FACTORY_NAME.search(text)
        framework = made[2] if made else _name_framework(required, direct)
        if (match := made or factory) and framework:
            module = name.removesuffix(".py").replace("/", ".")
            app = f"{module}:{match[1]}"
            web = ("uvicorn", app, "--host", "127.0.0.1", "--port", "$PORT")
            return framework, _fields(web), join(folder, name)
    return None


def _name_framework(required: str, direct: Set[str]) -> str | None:
    """Return the framework whose factory an application may call: one that it requires itself.

    Without one it is any that the lists name.
    """
    own = (name for name in ASGI_FRAMEWORKS if name.lower() in direct)
    return next(own, None) or next((one for one in ASGI_FRAMEWORKS if _names(one, required)), None)


def _fields(web: Argv) -> dict[str, Any]:
    return {"web": web, "health_path": "/"}
