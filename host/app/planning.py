"""Plans what to install, build, check and start for a tree, and runs nothing of it.

An install is *shared* if it reads only the files that its key is made of. It then lies in
`var/cache/installs/<key>` and is made once, from copies of those files: nothing else of a branch
gets into what other branches use. Any other install is made within the tree.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.app import command_line, command_policy
from host.app.command_line import Argv
from host.app.dependencies import (
    interpreters,
    node_projects,
    python_projects,
    toolchains,
    unread_files,
)
from host.app.dependencies.install import Install, Tools
from host.app.detection import BACKEND_FOLDERS
from host.app.manifest import Check, Manifest, Process
from host.config import Config
from host.errors import ApplicationRefused
from host.files.source_tree import SourceTree

# Limits of one install, of each build, of `release:` and of the seed.
INSTALL_SECONDS = 900.0
BUILD_SECONDS = 900.0
RELEASE_SECONDS = 600.0
SEED_SECONDS = 300.0


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
class BackgroundCommand:
    """A process beside `web` to keep running.

    `name` is its type, with a number from the second process of the type on: worker, worker.2.
    `stop_timeout` is in seconds. A server has the place of its port among those of the slot or of
    the colour, and a `health_path` unless / is a guess. A build manifest has these fields.
    """

    name: str
    command: Command
    stop_timeout: float
    has_preview: bool = True
    port_index: int | None = None
    health_path: str = ""

    @property
    def is_server(self) -> bool:
        return self.port_index is not None


@dataclass(frozen=True)
class Plan:
    """What to do for a tree, in this order (the last two only in a slot or in production)."""

    installs: tuple[Install, ...]
    builds: tuple[Command, ...]
    release: Command | None
    seed: Command | None
    web: Command | None
    checks: tuple[Command, ...]
    notes: tuple[str, ...] = ()
    processes: tuple[BackgroundCommand, ...] = ()

    def bin_folders(self, config: Config, root: Path) -> list[Path]:
        """Return the folders that go first on PATH."""
        return [folder for install in self.installs for folder in install.bin_folders(config, root)]


def make_plan(
    root: Path, manifest: Manifest, tools: Tools, *, has_development: bool = False
) -> Plan:
    """Decide what to do for the tree at `root`; `has_development` also installs what checks need.

    Raises Refused `command_refused`, and `manifest_invalid` for a file that would be honored in a
    wrong way: another interpreter, a lock file that no tool here reads.
    """
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
    processes = tuple(_plan_processes(manifest.processes))
    beside_web = [process.command for process in processes]
    for argv in (*manifest.backend_install, *manifest.frontend_install):
        command_policy.check_command(argv)
    named = (*builds, *checks, release, seed, web, *beside_web)
    commands = [command for command in named if command is not None]
    for command in commands:
        command_policy.check_command(command.argv)
    installs, notes = _plan_installs(tree, manifest, tools, commands, has_development)
    if web is None:
        others = [one for one in BACKEND_FOLDERS if one not in list_folders(manifest)]
        notes += unread_files.describe_lone_frontend(tree, frontend, others)
    return Plan(installs, tuple(builds), release, seed, web, checks, tuple(notes), processes)


def list_folders(manifest: Manifest) -> list[str]:
    """Return the folders whose files say what is installed, the first first."""
    return list(dict.fromkeys((manifest.backend_dir, ".", manifest.frontend_dir)))


def _plan_processes(processes: Iterable[Process]) -> Iterator[BackgroundCommand]:
    ports = itertools.count()
    for process in processes:
        port = next(ports) if process.has_port else None
        for number in range(1, process.quantity + 1):
            name = process.type if number == 1 else f"{process.type}.{number}"
            command = Command(name, process.argv, process.directory, 0.0)
            yield BackgroundCommand(
                name,
                command,
                process.stop_timeout,
                process.has_preview,
                port,
                process.health_path,
            )


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


def _plan_installs(
    tree: SourceTree,
    manifest: Manifest,
    tools: Tools,
    commands: Sequence[Command],
    has_development: bool,
) -> tuple[tuple[Install, ...], list[str]]:
    """Return the installs in their order, and notes on files that are not honored."""
    programs = {command.argv[0] for command in commands}
    is_used = not programs <= {*node_projects.PROGRAMS}
    folders = list_folders(manifest)
    tools = interpreters.choose_node(tree, folders, tools)
    node, node_notes = _plan_node_installs(tree, manifest, tools)
    folder = next(
        (one for one in folders if python_projects.has_python_project(tree, one)), folders[0]
    )
    has_own_install = manifest.backend_install or manifest.frontend_install
    used = [] if manifest.backend_install else toolchains.find_used(programs)
    others = [
        toolchains.plan_toolchain(tree, kind, folders, has_development=has_development)
        for kind in used
    ]
    read = {toolchains.FILES[kind] for kind in used}
    notes = [] if has_own_install else unread_files.describe_unread_files(tree, folders, read)
    notes += unread_files.describe_platform_files(tree, manifest.frontend_dir)
    notes += toolchains.note_versions(tree, toolchains.find_used(programs), folders)
    if is_used:
        asking = list(dict.fromkeys((folder, ".")))
        tools = interpreters.choose_python(tree, asking, tools)
        notes += interpreters.check_python(tree, asking, tools)
    if node or programs & {*node_projects.PROGRAMS}:
        notes += interpreters.check_node(tree, folders, tools)
        node = [*interpreters.plan_node_wheel(tree, tools), *node]
    python, python_notes = python_projects.plan_python(
        tree,
        folder,
        tuple(argv for argv in manifest.backend_install if argv[0] not in node_projects.PROGRAMS),
        tools,
        is_used=is_used,
        is_writable=any(
            argv[0] not in node_projects.PROGRAMS for argv in manifest.frontend_install
        ),
        has_development=has_development,
    )
    found = [install for install in others if install is not None]
    return (python, *node, *found), [*notes, *python_notes, *node_notes]


def _plan_node_installs(
    tree: SourceTree, manifest: Manifest, tools: Tools
) -> tuple[list[Install], list[str]]:
    """Plan the packages of the frontend, of the backend and of Node's processes, in their folders.

    In place of a folder it is the workspace that the folder belongs to.
    """
    backend = tuple(argv for argv in manifest.backend_install if argv[0] in node_projects.PROGRAMS)
    customs: dict[str, tuple[Argv, ...]] = {manifest.frontend_dir: manifest.frontend_install}
    customs[manifest.backend_dir] = customs.get(manifest.backend_dir, ()) + backend
    for process in manifest.processes:
        if process.argv[0] in node_projects.PROGRAMS:
            customs.setdefault(process.directory, ())
    members: dict[str, list[str]] = {}
    for folder, custom in customs.items():
        # The manifest's own commands run in the folder that it names.
        root = folder if custom else node_projects.find_install_folder(tree, folder)
        members.setdefault(root, []).append(folder)
    installs: list[Install] = []
    notes: list[str] = []
    for root, folders in members.items():
        custom = customs.get(root, ()) if root in folders else ()
        found, new = node_projects.plan_node(
            tree, list(dict.fromkeys((root, *folders))), custom, tools
        )
        installs += [install for install in found if install not in installs]
        notes += new
    return installs, notes
