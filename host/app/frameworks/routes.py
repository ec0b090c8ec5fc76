"""Which paths beside /api a framework's backend answers, read from the files of a tree.

A path stands for itself, and with /* at its end also for all below it. Nothing is executed: a path
that is computed is not found, and [routes] of oroboros.toml can name it.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from host.app.dependencies.project_files import get_text, read_json
from host.app.frameworks import django_project
from host.files.source_tree import SourceTree

# The first part of a path, if that has no parameter or pattern in it.
PLAIN = re.compile(r"/?([A-Za-z0-9._~-]+)(?:/|$)")
# `path("accounts/", include("allauth.urls"))`, in the root URL configuration.
DJANGO_PATH = re.compile(r"""\bpath\(\s*["']([^"']*)["']""")
# The last text of the line: `MEDIA_URL = env("MEDIA_URL", default="/media/")`.
DJANGO_URL = r"""^{name}\s*[:=][^#\n]*["']([^"'#\n]+)["']"""
# `@app.get("/metrics")`, `app.mount("/static", …)`, `app.include_router(…, prefix="/auth")`.
PYTHON_ROUTE = re.compile(
    r"""@\w+\.(?:get|post|put|patch|delete|head|route|api_route|websocket)\(\s*["'](/[^"']*)["']"""
    r"""|\.mount\(\s*["'](/[^"']*)["']"""
    r"""|\.include_router\([^)]*?\bprefix\s*=\s*["'](/[^"']*)["']"""
    r"""|\.register_blueprint\([^)]*?\burl_prefix\s*=\s*["'](/[^"']*)["']"""
)
FASTAPI_PAGES = {"docs_url": "/docs", "redoc_url": "/redoc", "openapi_url": "/openapi.json"}
# `app.use("/auth", …)`, `fastify.get("/metrics", …)`.
NODE_ROUTE = re.compile(
    r"""\b\w+\.(?:get|post|put|patch|delete|all|use|ws)\(\s*["'`](/[^"'`]*)["'`]\s*,"""
)
# `mount Sidekiq::Web => "/sidekiq"`, `mount X, at: "/x"`, `namespace :admin`, `get "/up" => …`.
RAILS_ROUTE = re.compile(
    r"""^\s*(?:mount\b[^\n]*?(?:=>|at:)\s*["']/?([^"'\n]+)["']"""
    r"""|(?:get|post|put|patch|delete|match|scope)\s+["']/?([^"'\n]+)["']"""
    r"""|(?:namespace|resources?|devise_for)\s+:(\w+))""",
    re.MULTILINE,
)
RAILS_PATHS = ("/assets/*", "/cable", "/rails/*")
NODE_FILES = ("server.js", "app.js", "index.js", "server.ts", "src/server.ts", "src/index.ts")
API = "/api"
MAX_ROUTES = 50


def find_routes(tree: SourceTree, framework: str, folder: str, files: tuple[str, ...]) -> list[str]:
    """Return the paths that the backend of that framework answers, beside /api and /.

    `files` are those in which it was recognized.
    """
    find = FINDERS.get(framework, _find_none)
    paths = dict.fromkeys(find(tree, folder, files))
    return [path for path in paths if path.removesuffix("/*") not in ("", API)][:MAX_ROUTES]


def _first_part(path: str) -> str | None:
    """Return the first part of a path as a route with all below it; None if it is no plain text."""
    match = PLAIN.match(path)
    return f"/{match[1]}/*" if match else None


def _first_parts(paths: Iterator[str]) -> Iterator[str]:
    return (part for part in map(_first_part, paths) if part is not None)


def _find_none(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    return iter(())


def _find_django(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    """Yield the paths of the root URL configuration, and those of static and uploaded files."""
    module, settings = django_project.read_settings(tree, folder)
    named = re.search(r"""^ROOT_URLCONF\s*=\s*["']([\w.]+)["']""", settings, re.MULTILINE)
    urls = named[1] if named else f"{module.partition('.')[0]}.urls"
    text = tree.read_source(f"{folder}/{urls.replace('.', '/')}.py")
    yield from _first_parts(match[1] for match in DJANGO_PATH.finditer(text))
    for name in ("STATIC_URL", "MEDIA_URL"):
        for match in re.finditer(DJANGO_URL.format(name=name), settings, re.MULTILINE):
            if "://" not in match[1] and not match[1].startswith("//"):
                yield from filter(None, [_whole_path(match[1])])


def _whole_path(path: str) -> str | None:
    """Return a path such as `static/` with all below it; None if it is no plain text."""
    plain = f"/{path.strip('/')}"
    return f"{plain}/*" if re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", plain) else None


def _find_fastapi(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    text = _read(tree, files)
    for option, default in FASTAPI_PAGES.items():
        match = re.search(rf"""\b{option}\s*=\s*(?:["']([^"']+)["']|(None))""", text)
        if match is None:
            yield default
        elif match[1]:
            yield match[1]
    yield "/docs/oauth2-redirect"
    yield from _find_python(tree, folder, files)


def _find_python(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    found = PYTHON_ROUTE.finditer(_read(tree, files))
    yield from _first_parts("".join(filter(None, match.groups())) for match in found)


def _find_node(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    package = read_json(tree, folder, "package.json")
    named = [*get_text(package, "scripts", "start").split(), get_text(package, "main")]
    scripts = [name for name in named if name.endswith((".js", ".mjs", ".cjs", ".ts"))]
    paths = tuple(f"{folder}/{name}" for name in (*scripts, *NODE_FILES))
    found = NODE_ROUTE.finditer(_read(tree, paths))
    yield from _first_parts(match[1] for match in found)


def _find_rails(tree: SourceTree, folder: str, files: tuple[str, ...]) -> Iterator[str]:
    yield from RAILS_PATHS
    found = RAILS_ROUTE.finditer(_read(tree, (f"{folder}/config/routes.rb",)))
    yield from _first_parts("".join(filter(None, match.groups())) for match in found)


def _read(tree: SourceTree, paths: tuple[str, ...]) -> str:
    return "\n".join(tree.read_source(str(PurePosixPath(path))) for path in dict.fromkeys(paths))


Finder = Callable[[SourceTree, str, tuple[str, ...]], Iterator[str]]
FINDERS: dict[str, Finder] = {
    "Django": _find_django,
    "FastAPI": _find_fastapi,
    "Flask": _find_python,
    "Rails": _find_rails,
    **dict.fromkeys(("express", "fastify", "koa", "hono", "Node.js"), _find_node),
}
