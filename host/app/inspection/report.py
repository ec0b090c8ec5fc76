"""Describes how Oroboros would install, build and start a folder, and where it knows that from."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from host.app import application, installs, manifest_loader, planning
from host.app.command_line import Argv
from host.app.dependencies import interpreters
from host.app.dependencies.install import VENV, Install, Tools
from host.app.inspection.host_programs import MissingProgram, find_missing_programs
from host.app.manifest import Manifest
from host.app.planning import Plan
from host.app.process_types.process_environment import WEB
from host.app.process_types.route_layers import ALL, API, plan_routes
from host.app.resources import extensions, storage
from host.config import Config
from host.errors import Refused
from host.files.source_tree import SourceTree
from host.postgres.programs import available_extensions

DEFAULT = "default"
# Words of our own commands that say nothing about the application.
QUIET_WORDS = {
    *("--python", f"{VENV}/bin/python", "--no-audit", "--no-fund", "--loglevel=error"),
    *("--no-package-lock", "--save-exact", "--quiet"),
}
LANGUAGES = {"python": "Python", "node": "Node.js", "ruby": "Ruby", "php": "PHP", "go": "Go"}


@dataclass(frozen=True)
class Row:
    """One thing that was recognized: what it is, its value, and the file that says so."""

    name: str
    value: str
    why: str


@dataclass(frozen=True)
class Report:
    """What is known of the application in a folder.

    `missing` are the programs that this host lacks, `problems` why the application cannot run as it
    is, each with what to change, and `notes` sentences about files that are not honored.
    """

    folder: Path
    rows: Sequence[Row]
    missing: Sequence[MissingProgram] = ()
    problems: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the application can be installed and started here, as far as its files say."""
        return not (self.missing or self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as the keys of the JSON object that `detect.sh --json` prints."""
        return {
            "ok": self.is_complete,
            "command": "detect",
            "path": str(self.folder),
            "rows": [asdict(row) for row in self.rows],
            "missing": [asdict(one) for one in self.missing],
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def inspect_folder(config: Config, root: Path) -> Report:
    """Return what Oroboros recognizes in the folder, for this host. Nothing of it is executed."""
    report = build_report(root, installs.find_tools(config), installs.find_host_program)
    declared: Iterable[str] = ()
    if not report.problems:
        try:
            declared = application.read_application(config, root, None).manifest.extensions
        except Refused as refused:
            report = replace(report, problems=[refused.detail])
    lacking = _find_lacking_extensions(config, root, declared)
    return replace(report, missing=[*report.missing, *lacking])


def _find_lacking_extensions(
    config: Config, root: Path, declared: Iterable[str]
) -> Iterator[MissingProgram]:
    """Yield the extensions of PostgreSQL that the tree wants and this host's server lacks."""
    asked = dict.fromkeys(declared, "oroboros.toml")
    created = extensions.find_wanted(SourceTree(root))
    if not asked and not created:
        return
    found = available_extensions.foresee_available(config)
    left = {name: path for name, path in created.items() if name not in asked}
    for name, path, remedy in (
        *extensions.list_lacking(asked, found.creatable, found.version),
        *extensions.list_lacking(left, found.extensions, found.version),
    ):
        yield MissingProgram(f"PostgreSQL's extension {name}", path, remedy)


def build_report(root: Path, tools: Tools, find_program: Callable[[str], str | None]) -> Report:
    """Return the report for a host with these tools, and the programs that `find_program` finds."""
    problems, commands = [], []
    try:
        manifest = manifest_loader.load_manifest(root)
        commands = [*describe_commands(manifest), *describe_answers(manifest)]
    except Refused as refused:
        problems = [refused.detail]
        manifest = Manifest()  # the languages can be recognized all the same
    try:
        plan = planning.make_plan(root, manifest, tools)
    except Refused as refused:
        return Report(root, commands, problems=[*problems, refused.detail], notes=manifest.notes)
    tools = _choose_interpreters(root, plan, manifest, tools)
    rows = [*describe_languages(plan, manifest, tools), *describe_installs(plan), *commands]
    missing = find_missing_programs(plan, find_program)
    return Report(root, rows, missing, problems, (*manifest.notes, *plan.notes))


def _choose_interpreters(root: Path, plan: Plan, manifest: Manifest, tools: Tools) -> Tools:
    """Return the tools with the Python of the plan's virtual environment, and its Node.js."""
    tree = SourceTree(root)
    folders = [one.directory for one in plan.installs if one.kind == "python"]
    tools = interpreters.choose_python(tree, [*folders, "."], tools)
    return interpreters.choose_node(tree, planning.list_folders(manifest), tools)


def describe_languages(plan: Plan, manifest: Manifest, tools: Tools) -> Iterator[Row]:
    """Yield a row for each language whose packages are installed, and for the framework."""
    versions = {"python": tools.python_version.rpartition("Python ")[2], "node": tools.node_version}
    for kind in dict.fromkeys(install.kind for install in plan.installs):
        found = [one for one in plan.installs if one.kind == kind and _is_shown(one)]
        if kind in LANGUAGES and found:
            version = versions.get(kind, "").split(" ")[0].removeprefix("v")
            yield Row("language", f"{LANGUAGES[kind]} {version}".strip(), _name_files(found[0]))
    if manifest.framework:
        yield Row("framework", manifest.framework, manifest.sources["framework"].split(": ")[1])


def describe_installs(plan: Plan) -> Iterator[Row]:
    """Yield a row for each command that installs packages."""
    for install in plan.installs:
        for argv in (*_list_own_commands(install), *install.custom_commands):
            if _is_shown(install) and argv[1:2] != ("venv",):
                is_own = argv in install.custom_commands
                why = "oroboros.toml" if is_own else _name_files(install)
                yield Row("install", _format_argv(argv, install.directory), why)


def describe_commands(manifest: Manifest) -> Iterator[Row]:
    """Yield a row for each command of the application, in the order in which they run."""
    why = manifest.sources
    for name, argvs, folder in (
        ("backend_build", manifest.backend_build, manifest.backend_dir),
        ("frontend_build", manifest.frontend_build, manifest.frontend_dir),
    ):
        for argv in argvs:
            yield Row("build", _format_argv(argv, folder), why.get(name, DEFAULT))
    for name, one in (
        ("web", manifest.web),
        ("release", manifest.release),
        ("seed", manifest.seed),
    ):
        if one is not None:
            text = f"{name}: {_format_argv(one, manifest.backend_dir)}"
            yield Row("process", text, why.get(name, DEFAULT))
    for process in manifest.processes:
        times = f"{process.quantity} x " if process.quantity > 1 else ""
        text = f"{process.type}: {times}{_format_argv(process.argv, process.directory)}"
        yield Row("process", text, process.source)
    for check in manifest.checks:
        text = f"{check.name}: {_format_argv(check.argv, check.directory)}"
        yield Row("check", text, why.get("checks", DEFAULT))


def describe_answers(manifest: Manifest) -> Iterator[Row]:
    """Yield what is served, by what, what the application is connected to, and how it is probed."""
    why = manifest.sources
    if manifest.public_dir is not None:
        yield Row("files", manifest.public_dir, why.get("frontend_output", DEFAULT))
    if manifest.web is None:
        return
    yield from _describe_routes(manifest)
    yield Row("service", "PostgreSQL, as DATABASE_URL", "each backend has its own database")
    if manifest.redis:
        yield Row("service", "Redis, as REDIS_URL", why.get("redis", DEFAULT))
    for name, path in manifest.storage.items():
        kept = f"{path}, as {storage.variable_name(name)}"
        yield Row("storage", kept, why.get("storage", DEFAULT))
    guess = "a guess: any answer below 500" if manifest.is_health_guess else "must answer 2xx"
    stated = why.get("health_path", DEFAULT)
    yield Row("health path", f"{manifest.health_path} ({guess})", stated)
    for name in manifest.env_required:
        yield Row("variable", f"{name} must be set in worker-preview.env and app.env", "app.json")


def _describe_routes(manifest: Manifest) -> Iterator[Row]:
    why, routes = manifest.sources, manifest.routes
    servers = [name for name in routes.values() if name != WEB]
    if manifest.public_dir is None and not servers:
        yield Row("route", "every path: web", "no frontend is built to files")
        return
    if API not in routes:
        yield Row("route", f"{API}: web", "the backend beside a frontend")
    for path, process in routes.items():
        yield Row("route", f"{path}: {process}", why.get("routes", DEFAULT))
    after_files = plan_routes(routes, manifest.detected_routes).after_files
    for path in manifest.detected_routes:
        if path not in routes:
            condition = ", if no file" if path in after_files and manifest.public_dir else ""
            yield Row("route", f"{path}: web{condition}", why["detected_routes"])
    if manifest.public_dir is None and ALL not in routes:
        yield Row("route", "every other path: web", "no frontend is built to files")


def _list_own_commands(install: Install) -> Sequence[Argv]:
    """Return the install's own commands; of those that bring Node.js, what they bring."""
    if install.kind == "runtime":
        return [("uv", "pip", "install", install.commands[0][-1])]
    return install.commands


def _is_shown(install: Install) -> bool:
    """Return whether an install has packages: a virtual environment is made without any too."""
    return install.kind != "python" or len(install.commands) > 1 or bool(install.custom_commands)


def _name_files(install: Install) -> str:
    """Return the file that an install reads first, from the root of the tree."""
    if install.kind == "runtime":
        return "the version that the application asks for"
    if install.kind == "tool":
        return "the lock file, or packageManager in package.json"
    named = [name for name in install.files if name not in ("pyproject.toml", "uv.toml")]
    names = [*named, *install.files, *(["oroboros.toml"] if install.custom_commands else [])]
    if not names:
        return "the folder's project files"
    return names[0] if install.directory == "." else f"{install.directory}/{names[0]}"


def _format_argv(argv: Sequence[str], folder: str) -> str:
    """Return a command as people write it, and the folder that it runs in."""
    words = [Path(argv[0]).name if argv[0].startswith("/") else argv[0], *argv[1:]]
    text = " ".join(word for word in words if word not in QUIET_WORDS)
    return text if folder == "." else f"{text} (in {folder})"
