"""Plans what to install, build, check and start for a tree, and runs nothing of it.

An install is *shared* if it reads only the files that its key is made of. It then lies in
`var/cache/installs/<key>` and is made once, from copies of those files: nothing else of a branch
gets into what other branches use. Any other install is made within the tree.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.app import command_line, command_policy, detection
from host.app.command_line import Argv
from host.app.manifest import Check, Manifest
from host.config import Config
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

# Limits of one install, of each build, of `release:` and of the seed.
INSTALL_SECONDS = 900.0
BUILD_SECONDS = 900.0
RELEASE_SECONDS = 600.0
SEED_SECONDS = 300.0
VENV = ".venv"
NODE_MODULES = "node_modules"
NODE_PROGRAMS = ("npm", "node")
INCLUDE_OPTION = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)
# A requirement that names a path: no key contains the files at that path.
LOCAL_REQUIREMENT = re.compile(
    r"^\s*(?:-e|--editable|--find-links|-f\b|[./~]|file:)|@\s*(?:file:|[./~])", re.MULTILINE
)
# The same in uv.lock. `.` is the project itself, which is not installed.
LOCAL_LOCK_SOURCE = re.compile(r"(?:editable|directory|path|virtual) = \"(?!\.\")")


@dataclass(frozen=True)
class Tools:
    """The host's installers by absolute path, and the versions of the interpreters."""

    uv: str
    python: str
    python_version: str
    npm: str = "npm"
    node_version: str = ""


@dataclass(frozen=True)
class Command:
    """A command as the manifest has it; `cwd` is relative to the tree, `timeout` in seconds.

    `stage` is one of `environment.STAGE_VARIABLES`. `prepare_argv` returns what is started for it.
    A release's build manifest has these fields.
    """

    name: str
    argv: Argv
    cwd: str = "."
    timeout: float = BUILD_SECONDS
    stage: str = "run"


@dataclass(frozen=True)
class Install:
    """The dependencies of one folder, `python` or `node`. All its commands run in `folder()`.

    `files` are the tree's files (relative to `directory`) that a shared install is made of.
    `custom_commands` are the manifest's: they run last, and the command policy applies to them.
    """

    kind: str
    directory: str
    commands: tuple[Argv, ...]
    files: tuple[str, ...]
    key: str
    shared: bool
    custom_commands: tuple[Argv, ...] = ()

    @property
    def output_name(self) -> str:
        """The name of the folder that the commands make."""
        return VENV if self.kind == "python" else NODE_MODULES

    def folder(self, config: Config, root: Path) -> Path:
        """Return the folder that it is installed in."""
        if self.shared:
            return config.var / "cache" / "installs" / self.key
        return Path(os.path.normpath(root / self.directory))

    def bin_folder(self, config: Config, root: Path) -> Path:
        """Return the folder of the programs that it installs."""
        name = "bin" if self.kind == "python" else ".bin"
        return self.folder(config, root) / self.output_name / name


@dataclass(frozen=True)
class Plan:
    """What to do for a tree, in this order (`web` last, and only in a slot or in production)."""

    installs: tuple[Install, ...]
    builds: tuple[Command, ...]
    release: Command | None
    seed: Command | None
    web: Command | None
    checks: tuple[Command, ...]

    def bin_folders(self, config: Config, root: Path) -> list[Path]:
        """Return the folders that go first on PATH."""
        return [install.bin_folder(config, root) for install in self.installs]


def make_plan(root: Path, manifest: Manifest, tools: Tools) -> Plan:
    """Decide what to do for the tree at `root`. Raises Refused `command_refused`."""
    tree = SourceTree(root)
    backend, frontend = manifest.backend_dir, manifest.frontend_dir
    builds = [
        *(
            Command("build backend", argv, backend, stage="build")
            for argv in manifest.backend_build
        ),
        *(
            Command("build frontend", argv, frontend, stage="build")
            for argv in manifest.frontend_build
        ),
    ]
    checks = plan_checks(manifest.checks)
    release = _plan_command("release", manifest.release, backend, RELEASE_SECONDS)
    seed = _plan_command("seed", manifest.seed, backend, SEED_SECONDS)
    web = _plan_command("web", manifest.web, backend, 0.0)  # a daemon: it has no limit
    for argv in (*manifest.backend_install, *manifest.frontend_install):
        command_policy.check_command(argv)
    for command in (*builds, *checks, release, seed, web):
        if command is not None:
            command_policy.check_command(command.argv)
    return Plan(_plan_installs(tree, manifest, tools), tuple(builds), release, seed, web, checks)


def plan_checks(checks: Iterable[Check]) -> tuple[Command, ...]:
    """Return the commands of the checks of a manifest."""
    return tuple(
        Command(check.name, check.argv, check.directory, check.timeout, "check") for check in checks
    )


def prepare_argv(
    command: Command, config: Config, *, root: Path, bins: Sequence[Path], env: Mapping[str, str]
) -> list[str]:
    """Return the argv to start with `cwd=root / command.cwd` and exactly `env`.

    Its variables are filled in, and its program is an absolute path that the command policy allows.
    Raises Refused `command_refused` (400).
    """
    # A branch may commit a link as the folder, or make one of it in an earlier command.
    if not Path(os.path.realpath(root / command.cwd)).is_relative_to(os.path.realpath(root)):
        detail = f"The directory {command.cwd} of {command.name} leads out of the tree."
        raise ApplicationRefused("command_refused", detail)
    argv = [command_line.substitute_variables(word, env) for word in command.argv]
    return command_policy.resolve_program(
        argv, config, cwd=root / command.cwd, root=root, bins=bins
    )


def _plan_command(name: str, argv: Argv | None, cwd: str, timeout: float) -> Command | None:
    return None if argv is None else Command(name, argv, cwd, timeout)


def _plan_installs(tree: SourceTree, manifest: Manifest, tools: Tools) -> tuple[Install, ...]:
    backend, frontend = manifest.backend_dir, manifest.frontend_dir
    folders = list(dict.fromkeys((backend, ".", frontend)))
    python = next((f for f in folders if detection.has_python_project(tree, f)), backend)
    custom = (*manifest.backend_install, *manifest.frontend_install)
    custom_python = tuple(argv for argv in custom if argv[0] not in NODE_PROGRAMS)
    installs = [_plan_python(tree, python, custom_python, tools)]
    for folder in dict.fromkeys((frontend, backend)):
        custom = manifest.frontend_install if folder == frontend else ()
        custom += manifest.backend_install if folder == backend else ()
        custom_node = tuple(argv for argv in custom if argv[0] in NODE_PROGRAMS)
        install = _plan_node(tree, folder, custom_node, tools)
        if install is not None:
            installs.append(install)
    return tuple(installs)


def _plan_python(tree: SourceTree, folder: str, custom: tuple[Argv, ...], tools: Tools) -> Install:
    """Plan a virtual environment; without dependencies it is an empty, shared one."""
    # --clear: an interrupted install may have left a part of one. --no-project: no setting of the
    # tree chooses another interpreter.
    venv: Argv = (tools.uv, "venv", "--quiet", "--clear", "--no-project")
    # Only the manifest's own commands may call pip, which --seed installs.
    venv = (*venv, *(["--seed"] if custom else []), "--python", tools.python, VENV)
    pip: Argv = (tools.uv, "pip", "install", "--python", f"{VENV}/bin/python")
    project = tree.read_text(f"{folder}/pyproject.toml") or ""
    is_package = re.search(r"^\[build-system\]", project, re.MULTILINE) is not None
    files: tuple[str, ...] = ()
    shared = not custom and not is_package
    commands: tuple[Argv, ...]
    if custom:
        commands = ()
    elif tree.has_file(f"{folder}/uv.lock"):
        files = ("uv.lock", "pyproject.toml", ".python-version", "uv.toml")
        shared = shared and not LOCAL_LOCK_SOURCE.search(tree.read_text(f"{folder}/uv.lock") or "")
        commands = ((tools.uv, "sync", "--frozen", "--python", tools.python),)
        if shared:
            # A shared install has no copy of the project's own files.
            commands = ((*commands[0], "--no-install-project"),)
    elif tree.has_file(f"{folder}/requirements.txt"):
        files = _find_requirements(tree, folder, "requirements.txt")
        shared = bool(files)
        files = (*files, "pyproject.toml", "uv.toml")  # uv reads its settings there
        commands = ((*pip, "-r", "requirements.txt"),)
    elif re.search(r"^\[project\]", project, re.MULTILINE):
        files = ("pyproject.toml", "uv.toml")
        commands = ((*pip, "-e", "."),) if is_package else ((*pip, "-r", "pyproject.toml"),)
    else:
        commands, shared = (), True
    commands = (venv, *commands)
    return _build_install(
        tree, "python", folder, commands, custom, files, tools.python_version, shared
    )


def _find_requirements(tree: SourceTree, folder: str, name: str) -> tuple[str, ...]:
    """Return the file and those it includes; nothing if one of them names a path."""
    files: list[str] = []
    waiting = [name]
    while waiting:
        name = os.path.normpath(waiting.pop())
        text = tree.read_text(f"{folder}/{name}")
        if text is None or name.startswith(("..", "/")) or LOCAL_REQUIREMENT.search(text):
            return ()
        files.append(name)
        base = os.path.dirname(name)  # noqa: PTH120 — a path of the tree, not of this host
        included = [os.path.join(base, path) for path in INCLUDE_OPTION.findall(text)]  # noqa: PTH118
        waiting += [path for path in included if os.path.normpath(path) not in files]
    return tuple(files)


def _plan_node(
    tree: SourceTree, folder: str, custom: tuple[Argv, ...], tools: Tools
) -> Install | None:
    data = detection.read_package_json(tree, folder)
    if data is None or not (custom or data.get("dependencies") or data.get("devDependencies")):
        return None
    # Audit and funding messages cost requests to the registry, and fill the log.
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    lock = tree.read_text(f"{folder}/package-lock.json")
    files = ("package-lock.json", "package.json", ".npmrc")
    commands: tuple[Argv, ...]
    if custom:
        commands, shared = (), False
    elif lock is None:
        commands, shared = ((tools.npm, "install", "--no-package-lock", *quiet),), False
    else:
        commands = ((tools.npm, "ci", *quiet),)
        # A link leads to a folder of the tree, and the package's own scripts may read any file.
        shared = (
            '"link": true' not in lock and "file:" not in lock and not _has_install_scripts(data)
        )
    return _build_install(tree, "node", folder, commands, custom, files, tools.node_version, shared)


def _has_install_scripts(data: Mapping[str, object]) -> bool:
    scripts = data.get("scripts")
    hooks = {"preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare"}
    return isinstance(scripts, dict) and bool(hooks & set(scripts))


def _build_install(
    tree: SourceTree,
    kind: str,
    folder: str,
    commands: tuple[Argv, ...],
    custom: tuple[Argv, ...],
    files: tuple[str, ...],
    version: str,
    shared: bool,
) -> Install:
    """Return the install with its key: a hash of its files, its commands and the interpreter."""
    contents = {name: tree.read_bytes(f"{folder}/{name}") for name in files}
    present = tuple(name for name, data in contents.items() if data is not None)
    parts = {
        "kind": kind,
        "version": version,
        # Only the program's name: another checkout's uv makes the same install.
        "commands": [[os.path.basename(argv[0]), *argv[1:]] for argv in (*commands, *custom)],  # noqa: PTH119
        "files": {name: hashlib.sha256(contents[name] or b"").hexdigest() for name in present},
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Install(kind, folder, commands, present, f"{kind}-{digest[:40]}", shared, custom)
