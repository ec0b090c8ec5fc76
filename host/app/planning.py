"""What to install, build, check and start for a tree. It decides and runs nothing.

An install is *shared* when everything it reads is in the files of its key: then it lies in
`var/cache/installs/<key>`, made once from copies of those files alone, so that nothing else of a
branch can get into what others use. Otherwise it is made within the tree.
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
from host.app.manifest import Manifest
from host.app.manifest_schema import Check
from host.config import Config
from host.errors import Refused
from host.files.source_tree import Tree

INSTALL_SECONDS = 900.0
BUILD_SECONDS = 900.0
RELEASE_SECONDS = 600.0
SEED_SECONDS = 300.0
VENV = ".venv"
MODULES = "node_modules"
NODE = ("npm", "node")
INCLUDED = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)
# A requirement that is a place on the disk: what lies there is in no key.
LOCAL = re.compile(
    r"^\s*(?:-e|--editable|--find-links|-f\b|[./~]|file:)|@\s*(?:file:|[./~])", re.MULTILINE
)
LOCKED_PLACE = re.compile(r"(?:editable|directory|path|virtual) = \"(?!\.\")")


@dataclass(frozen=True)
class Tools:
    """The host's programs that install, by absolute path, and their versions."""

    uv: str
    python: str
    python_version: str
    npm: str = "npm"
    node_version: str = ""


@dataclass(frozen=True)
class Command:
    """One command, not yet `ready`: `cwd` is relative to the tree, `timeout` in seconds."""

    name: str
    argv: Argv
    cwd: str = "."
    timeout: float = BUILD_SECONDS


@dataclass(frozen=True)
class Install:
    """The dependencies of one folder. Its commands run in `place`, all of them or none.

    `files` are the tree's files (relative to `directory`) that a shared install is made of. `own`
    are the manifest's commands: they come last, and only what may be started at all is.
    """

    kind: str
    directory: str
    commands: tuple[Argv, ...]
    files: tuple[str, ...]
    key: str
    shared: bool
    own: tuple[Argv, ...] = ()

    @property
    def makes(self) -> str:
        """The folder it leaves in its place."""
        return VENV if self.kind == "python" else MODULES

    def place(self, config: Config, root: Path) -> Path:
        """Return where it is installed."""
        if self.shared:
            return config.var / "cache" / "installs" / self.key
        return Path(os.path.normpath(root / self.directory))

    def bin(self, config: Config, root: Path) -> Path:
        """Return the folder of the programs it brings."""
        return self.place(config, root) / self.makes / ("bin" if self.kind == "python" else ".bin")


@dataclass(frozen=True)
class Plan:
    """All there is to do for a tree, in the order of the fields."""

    installs: tuple[Install, ...]
    builds: tuple[Command, ...]
    release: Command | None
    seed: Command | None
    web: Command | None
    checks: tuple[Command, ...]

    def bins(self, config: Config, root: Path) -> list[Path]:
        """Return the folders that go first on PATH."""
        return [install.bin(config, root) for install in self.installs]


def plan(root: Path, manifest: Manifest, tools: Tools) -> Plan:
    """Decide what to do for the tree at `root`. Raises Refused `command_refused`."""
    tree = Tree(root)
    backend, frontend = manifest.backend_dir, manifest.frontend_dir
    builds = [
        *(Command("build backend", argv, backend) for argv in manifest.backend_build),
        *(Command("build frontend", argv, frontend) for argv in manifest.frontend_build),
    ]
    checks = checking(manifest.checks)
    release = _command("release", manifest.release, backend, RELEASE_SECONDS)
    seed = _command("seed", manifest.seed, backend, SEED_SECONDS)
    web = _command("web", manifest.web, backend, 0.0)
    for argv in (*manifest.backend_install, *manifest.frontend_install):
        command_policy.check(argv)
    for command in (*builds, *checks, release, seed, web):
        if command is not None:
            command_policy.check(command.argv)
    return Plan(_installs(tree, manifest, tools), tuple(builds), release, seed, web, checks)


def checking(checks: Iterable[Check]) -> tuple[Command, ...]:
    """Return the commands of a manifest's checks."""
    return tuple(Command(one.name, one.argv, one.directory, one.timeout) for one in checks)


def ready(
    command: Command, config: Config, *, root: Path, bins: Sequence[Path], env: Mapping[str, str]
) -> list[str]:
    """Return the argv to start: variables filled in, the program found and allowed.

    It is started with `cwd=root / command.cwd` and exactly `env`. Raises Refused
    `command_refused` (400).
    """
    if not Path(os.path.realpath(root / command.cwd)).is_relative_to(os.path.realpath(root)):
        detail = f"The directory {command.cwd} of {command.name} leads out of the tree."
        raise Refused("command_refused", detail, status=400)
    argv = [command_line.substitute(word, env) for word in command.argv]
    return command_policy.resolve(argv, config, cwd=root / command.cwd, root=root, bins=bins)


def _command(name: str, argv: Argv | None, cwd: str, timeout: float) -> Command | None:
    return None if argv is None else Command(name, argv, cwd, timeout)


def _installs(tree: Tree, manifest: Manifest, tools: Tools) -> tuple[Install, ...]:
    backend, frontend = manifest.backend_dir, manifest.frontend_dir
    folders = list(dict.fromkeys((backend, ".", frontend)))
    python = next((f for f in folders if detection.has_python(tree, f)), backend)
    own = (*manifest.backend_install, *manifest.frontend_install)
    installs = [_python(tree, python, tuple(a for a in own if a[0] not in NODE), tools)]
    for folder in dict.fromkeys((frontend, backend)):
        told = manifest.frontend_install if folder == frontend else ()
        told += manifest.backend_install if folder == backend else ()
        install = _node(tree, folder, tuple(a for a in told if a[0] in NODE), tools)
        if install is not None:
            installs.append(install)
    return tuple(installs)


def _python(tree: Tree, folder: str, own: tuple[Argv, ...], tools: Tools) -> Install:
    """Plan a virtual environment; without any dependency it is an empty, shared one."""
    venv: Argv = (tools.uv, "venv", "--quiet", "--clear", "--no-project")
    venv = (*venv, *(["--seed"] if own else []), "--python", tools.python, VENV)
    pip: Argv = (tools.uv, "pip", "install", "--python", f"{VENV}/bin/python")
    project = tree.text(f"{folder}/pyproject.toml") or ""
    is_package = re.search(r"^\[build-system\]", project, re.MULTILINE) is not None
    files: tuple[str, ...] = ()
    shared = not own and not is_package
    commands: tuple[Argv, ...]
    if own:
        commands = ()
    elif tree.has(f"{folder}/uv.lock"):
        files = ("uv.lock", "pyproject.toml", ".python-version", "uv.toml")
        shared = shared and not LOCKED_PLACE.search(tree.text(f"{folder}/uv.lock") or "")
        commands = ((tools.uv, "sync", "--frozen", "--python", tools.python),)
        if shared:
            commands = ((*commands[0], "--no-install-project"),)
    elif tree.has(f"{folder}/requirements.txt"):
        files = _requirements(tree, folder, "requirements.txt")
        shared = bool(files)
        files = (*files, "pyproject.toml", "uv.toml")  # uv's own settings lie there
        commands = ((*pip, "-r", "requirements.txt"),)
    elif re.search(r"^\[project\]", project, re.MULTILINE):
        files = ("pyproject.toml", "uv.toml")
        commands = ((*pip, "-e", "."),) if is_package else ((*pip, "-r", "pyproject.toml"),)
    else:
        commands, shared = (), True
    commands = (venv, *commands)
    return _install(tree, "python", folder, commands, own, files, tools.python_version, shared)


def _requirements(tree: Tree, folder: str, name: str) -> tuple[str, ...]:
    """Return the file and those it includes; nothing if it names a place on the disk."""
    found: list[str] = []
    waiting = [name]
    while waiting:
        name = os.path.normpath(waiting.pop())
        text = tree.text(f"{folder}/{name}")
        if text is None or name.startswith(("..", "/")) or LOCAL.search(text):
            return ()
        found.append(name)
        base = os.path.dirname(name)  # noqa: PTH120 — a path of the tree, not of this host
        included = [os.path.join(base, path) for path in INCLUDED.findall(text)]  # noqa: PTH118
        waiting += [path for path in included if os.path.normpath(path) not in found]
    return tuple(found)


def _node(tree: Tree, folder: str, own: tuple[Argv, ...], tools: Tools) -> Install | None:
    data = detection.package(tree, folder)
    if data is None or not (own or data.get("dependencies") or data.get("devDependencies")):
        return None
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    lock = tree.text(f"{folder}/package-lock.json")
    files = ("package-lock.json", "package.json", ".npmrc")
    commands: tuple[Argv, ...]
    if own:
        commands, shared = (), False
    elif lock is None:
        commands, shared = ((tools.npm, "install", "--no-package-lock", *quiet),), False
    else:
        commands = ((tools.npm, "ci", *quiet),)
        # A link is a folder of the tree, and a script of the package itself may read any of it.
        shared = '"link": true' not in lock and "file:" not in lock and not _own_scripts(data)
    return _install(tree, "node", folder, commands, own, files, tools.node_version, shared)


def _own_scripts(data: Mapping[str, object]) -> bool:
    scripts = data.get("scripts")
    hooks = {"preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare"}
    return isinstance(scripts, dict) and bool(hooks & set(scripts))


def _install(
    tree: Tree,
    kind: str,
    folder: str,
    commands: tuple[Argv, ...],
    own: tuple[Argv, ...],
    files: tuple[str, ...],
    version: str,
    shared: bool,
) -> Install:
    contents = {name: tree.read(f"{folder}/{name}") for name in files}
    present = tuple(name for name, data in contents.items() if data is not None)
    parts = {
        "kind": kind,
        "version": version,
        # Only the program's name: another checkout's uv makes the same install.
        "commands": [[os.path.basename(argv[0]), *argv[1:]] for argv in (*commands, *own)],  # noqa: PTH119
        "files": {name: hashlib.sha256(contents[name] or b"").hexdigest() for name in present},
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return Install(kind, folder, commands, present, f"{kind}-{digest[:40]}", shared, own)
