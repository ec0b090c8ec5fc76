"""Makes the installs of a plan: the shared ones once, under a lock, and then read-only.

On disk, in `var/cache/installs`: `<key>/` is a shared install, `<key>.done` says that it is
complete, `<key>.lock` is held while it is made, `<key>.gone` while it is removed.
"""

import hashlib
import os
import shutil
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host.app import command_policy, environment
from host.app.command_line import Argv
from host.app.dependencies import registries, tree_copy
from host.app.dependencies.install import Install, Tools
from host.app.planning import INSTALL_SECONDS, Plan
from host.config import Config
from host.deadline import Deadline
from host.errors import ApplicationRefused, Refused
from host.files import ownership, safe_files, var_folders
from host.files.file_lock import file_lock
from host.files.source_tree import LOCK_FILE_BYTES, SourceTree
from host.masking import known_secrets
from host.process import runner
from host.process.outcome import Outcome
from host.process.users import DelegatedUser, User

VERSION_SECONDS = 10.0
# Where npm and node are looked up. Not in the service's PATH, which may be an operator's own.
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
SUCCESS = Outcome(0, 0.0, timed_out=False, stopped=False)


def find_tools(config: Config) -> Tools:
    """Return the host's installers. OROBOROS_APP_PYTHON names another interpreter than ours.

    Raises Refused `tool_missing` if uv is not installed beside our Python, `setting_invalid` if
    that interpreter does not start.
    """
    return _find_tools(config.get("OROBOROS_APP_PYTHON"))


@cache
def _find_tools(python: str) -> Tools:
    scripts = sysconfig.get_path("scripts")
    uv = shutil.which("uv", path=os.pathsep.join([scripts, os.defpath]))
    if uv is None:
        raise Refused("tool_missing", "There is no uv beside our Python: install the requirements.")
    python = python or os.path.realpath(sys.executable)
    try:
        version = _read_version([python, "-VV"])
    except OSError as error:
        detail = f"OROBOROS_APP_PYTHON must be a Python that starts, not {python!r}: {error}."
        raise Refused("setting_invalid", detail) from None
    npm, node = shutil.which("npm", path=SYSTEM_PATH), shutil.which("node", path=SYSTEM_PATH)
    node_version = _read_version([node, "--version"]) if node else ""
    return Tools(uv, python, f"{python} {version}", npm or "npm", node_version)


def find_host_program(name: str) -> str | None:
    """Return the path of a program of the host; None if it has none of that name."""
    return shutil.which(name, path=SYSTEM_PATH)


def _read_version(argv: list[str]) -> str:
    answer = runner.capture(argv, timeout=VERSION_SECONDS)
    return (answer.stdout or answer.stderr).decode(errors="replace").strip()


def is_installed(config: Config, install: Install, root: Path) -> bool:
    """Return whether the install is complete and, if the tree needs its copy, is there.

    A complete install is marked as used now, which postpones its removal.
    """
    # A tree that was written anew has lost its own install, and the mark is still there.
    is_present = (install.folder(config, root) / install.output_name).is_dir()
    is_complete = _mark_used(_done_file(config, install, root)) and is_present
    return is_complete and _is_in_tree(config, install, root)


def list_unused_installs(config: Config, seconds: float) -> list[str]:
    """Return the names of the installs, complete or not, that were not used for `seconds`."""
    store = _store(config)
    paths = {path.stem: path for path in store.glob("*.done")}
    paths = {path.name: path for path in store.glob("*/")} | paths
    limit = time.time() - seconds
    return sorted(name for name, path in paths.items() if path.stat().st_mtime < limit)


def remove_install(config: Config, name: str, seconds: float) -> bool:
    """Remove an install; return False if it is being made, or was used within `seconds`."""
    folder = _store(config) / name
    done, gone = folder.with_name(f"{name}.done"), folder.with_name(f"{name}.gone")
    if not folder.is_dir():
        done.unlink(missing_ok=True)  # it was in a tree, which is deleted
        return True
    lock = folder.with_name(f"{name}.lock")
    with file_lock(lock, seconds=0) as is_locked:
        if not is_locked:
            return False
        with suppress(FileNotFoundError):
            # Renamed first: after this `is_installed` is False, so a use that began before it has
            # set the time that is compared now.
            done.rename(gone)
            if gone.stat().st_mtime >= time.time() - seconds:
                gone.rename(done)
                return False
        ownership.delete_tree(folder)
        gone.unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
    return True


def make_install(
    config: Config,
    install: Install,
    root: Path,
    *,
    user: User | None,
    log: Path,
    stop: Callable[[], bool] | None = None,
    earlier: Sequence[Install] = (),
) -> Outcome:
    """Make the install for the tree at `root` unless it is complete; output goes to `log`.

    A shared install is made by the user for installs, once: other callers wait for it. One that
    lies in the tree is made by `user`, because a branch may write there, and is not shared.
    The programs of the `earlier` installs are on its PATH: a package manager, Python.
    Returns the outcome of the first command that failed, else SUCCESS. Raises Refused
    `install_still_runs`, `command_refused`, `effect_missing`.
    """
    store = _store(config)
    store.mkdir(parents=True, exist_ok=True)
    work = _Work(config, install, root, log, stop, earlier)
    if not install.shared:
        return _run_commands(work, user)
    with file_lock(store / f"{install.key}.lock", seconds=INSTALL_SECONDS, stop=stop) as is_locked:
        if not is_locked:
            return _outcome_without_lock(stop)
        if not _mark_used(_done_file(config, install, root)):
            outcome = _make_shared(work)
            if outcome.exit_code != 0:
                return outcome
    _copy_into_tree(config, install, root, user)
    return SUCCESS


def make_installs(
    config: Config,
    plan: Plan,
    root: Path,
    *,
    user: User | None,
    log: Path,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Make the plan's missing installs; return and raise as `make_install`."""
    for number, install in enumerate(plan.installs):
        if not is_installed(config, install, root):
            earlier = plan.installs[:number]
            outcome = make_install(
                config, install, root, user=user, log=log, stop=stop, earlier=earlier
            )
            if outcome.exit_code != 0:
                return outcome
    return SUCCESS


@dataclass(frozen=True)
class _Work:
    """What the making of one install works with."""

    config: Config
    install: Install
    root: Path
    log: Path
    stop: Callable[[], bool] | None
    earlier: Sequence[Install]

    @property
    def folder(self) -> Path:
        return self.install.folder(self.config, self.root)

    @property
    def bins(self) -> list[Path]:
        """The folders of the programs of this install and of the earlier ones."""
        return [
            folder
            for install in (self.install, *self.earlier)
            for folder in install.bin_folders(self.config, self.root)
        ]


def _make_shared(work: _Work) -> Outcome:
    folder, user = work.folder, work.config.install_user
    # Lock order: the install's own lock, then the user's.
    with _user_lock(work.config, user, work.stop) as is_locked:
        if not is_locked:
            return _outcome_without_lock(work.stop)
        _kill_leftovers(user)  # of an install that was interrupted
        ownership.delete_tree(folder)
        _copy_files(work.install, work.root, folder)
        ownership.give_tree(folder, user)
        outcome = _run_commands(work, user)
        _kill_leftovers(user)
        if outcome.exit_code == 0:
            ownership.take_back(folder)
            safe_files.write_atomic(_done_file(work.config, work.install, work.root), b"")
    return outcome


def _copy_files(install: Install, root: Path, folder: Path) -> None:
    """Copy the files of the install's key, and no others, from the tree into a new folder."""
    folder.mkdir()
    for name in install.files:
        path = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name} is not a file of an install")
        path.parent.mkdir(parents=True, exist_ok=True)
        data = SourceTree(root).read_bytes(f"{install.directory}/{name}", LOCK_FILE_BYTES)
        path.write_bytes(data or b"")


def _user_lock(
    config: Config, user: User | None, stop: Callable[[], bool] | None
) -> AbstractContextManager[bool]:
    """Hold the right to install as `user`: processes of two packages' builds never coexist.

    Otherwise one package's build could change what another's installs. Yields False if `stop`
    returned true or INSTALL_SECONDS have passed.
    """
    if user is None or isinstance(user, DelegatedUser):  # systemd runs its jobs one at a time
        return nullcontext(True)
    return file_lock(_store(config) / "user.lock", seconds=INSTALL_SECONDS, stop=stop)


def _kill_leftovers(user: User | None) -> None:
    """Kill the processes that a package's build left: they could change what others use.

    systemd kills those of its own jobs. Raises Refused `install_still_runs`.
    """
    if user is not None and not isinstance(user, DelegatedUser) and not user.kill_all():
        raise Refused("install_still_runs", f"Processes of uid {user.uid} cannot be killed.")


def _outcome_without_lock(stop: Callable[[], bool] | None) -> Outcome:
    """Return the outcome for a caller whose wait for another install timed out or was stopped."""
    stopped = stop is not None and stop()
    return Outcome(None, 0.0, timed_out=not stopped, stopped=stopped)


def _run_commands(work: _Work, user: User | None) -> Outcome:
    install = work.install
    if not work.folder.is_dir():
        detail = f"The tree has no directory {install.directory}: correct it in oroboros.toml."
        raise ApplicationRefused("manifest_invalid", detail)
    deadline = Deadline(INSTALL_SECONDS)  # for all commands together
    with var_folders.private_folder(work.config, user) as home:
        env = _environment(work, home, user)
        masks = known_secrets.read_install_masks(work.config)
        for argv in (*install.commands, *install.custom_commands):
            outcome = runner.run(
                _prepare_argv(work, argv),
                cwd=work.folder,
                log=work.log,
                timeout=deadline.seconds_left,
                env=env,
                user=user,
                stop=work.stop,
                stdin=install.stdin.encode(),
                masks=masks,
            )
            if outcome.exit_code != 0:
                return outcome
    _require_output(work, user)
    if not install.shared:
        _done_file(work.config, install, work.root).touch()
    return SUCCESS


def _require_output(work: _Work, user: User | None) -> None:
    """Raise Refused `effect_missing` if the commands made no folder of dependencies."""
    install = work.install
    if (work.folder / install.output_name).is_dir():
        return
    if install.custom_commands:
        # The manifest's own command may install another language's packages, or elsewhere.
        with safe_files.folder_beneath(work.root, Path(install.directory).parts) as folder:
            os.mkdir(install.output_name, dir_fd=folder)
            ownership.give_folder(Path(f"/proc/self/fd/{folder}", install.output_name), user)
        return
    looked_for = os.path.normpath(f"{install.directory}/{install.output_name}")
    last = install.commands[-1]
    command = " ".join([Path(last[0]).name, *last[1:]])
    raise ApplicationRefused(
        "effect_missing",
        f"`{command}` succeeded, but there is no folder {looked_for} in the tree: it installed "
        "elsewhere (as in a workspace) or had nothing to install (as with `omit=dev` in an "
        ".npmrc). Correct that, or the [frontend] or [backend] directory in oroboros.toml.",
    )


def _environment(work: _Work, home: Path, user: User | None) -> dict[str, str]:
    """Return the environment, and write the registries' passwords into `home`.

    The programs of this and of earlier installs come first on PATH.
    """
    env = environment.build_install_environment(work.config, home=home)
    registries.write_files(work.config, home, user)
    folders = [str(folder) for folder in work.bins]
    pythons = [one for one in (work.install, *work.earlier) if one.kind == "python"]
    for python in pythons[:1]:
        env["VIRTUAL_ENV"] = str(python.folder(work.config, work.root) / python.output_name)
        # Else `uv sync` makes another one at the root of a workspace, in which nothing would look.
        env["UV_PROJECT_ENVIRONMENT"] = env["VIRTUAL_ENV"]
    if work.install.kind == "ruby":
        env["GEM_HOME"] = str(work.folder / "vendor" / "bundle")
    return env | {"PATH": os.pathsep.join([*folders, env["PATH"]])}


def _prepare_argv(work: _Work, argv: Argv) -> Sequence[str]:
    """Return a command with its program resolved: a planned one, or one of the manifest's.

    Raises Refused `command_refused`.
    """
    path = os.pathsep.join([*map(str, work.bins), SYSTEM_PATH])
    if argv[0] == "npm" and shutil.which("npm", path=path) is None:
        detail = "npm is not on this host; install nodejs and npm."
        raise ApplicationRefused("command_refused", detail)
    if argv not in work.install.custom_commands:
        return [shutil.which(argv[0], path=path) or argv[0], *argv[1:]]
    if argv[0] == "uv":
        command_policy.check_command(argv)
        return [find_tools(work.config).uv, *argv[1:]]
    return command_policy.resolve_program(
        argv, work.config, cwd=work.folder, root=work.root, bins=work.bins
    )


def _store(config: Config) -> Path:
    return config.var / "cache" / "installs"


def _mark_used(done_file: Path) -> bool:
    """Set the time of last use; return False if the install is not complete."""
    try:
        os.utime(done_file)
    except FileNotFoundError:
        return False
    return True


def _done_file(config: Config, install: Install, root: Path) -> Path:
    """Return the file that says that the install is complete; jobs cannot write to its folder."""
    store = _store(config)
    if install.shared:
        return store / f"{install.key}.done"
    return store / f"{install.key}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.done"


def _tree_mark(config: Config, install: Install, root: Path) -> Path:
    """Return the file that has the mark of the tree's copy."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return _store(config) / f"{install.key}-{name}.done"


def _is_in_tree(config: Config, install: Install, root: Path) -> bool:
    """Return whether the tree has its copy: a committed folder does not have our mark."""
    if not install.is_copied:
        return True
    mark = _tree_mark(config, install, root)
    path = f"{install.directory}/{install.output_name}/{tree_copy.MARK}"
    return _mark_used(mark) and SourceTree(root).read_bytes(path) == mark.read_bytes()


def _copy_into_tree(config: Config, install: Install, root: Path, user: User | None) -> None:
    """Make the tree's own node_modules from the shared one: node looks for it beside the code.

    A command of the branch may have replaced a folder on the path with a link: none is followed.
    Raises Refused `command_refused`.
    """
    if _is_in_tree(config, install, root):
        return
    source, name = install.folder(config, root) / install.output_name, install.output_name
    try:
        with safe_files.folder_beneath(root, Path(install.directory).parts) as folder:
            tree_copy.remove_entries(name, folder)
            mark = tree_copy.copy_folder(source, name, folder, user)
            safe_files.write_atomic(_tree_mark(config, install, root), mark)
    except (Refused, FileNotFoundError):
        detail = f"{install.directory} is no longer a folder of the tree: {name} cannot be made."
        raise ApplicationRefused("command_refused", detail) from None
