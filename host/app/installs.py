"""Carries out the installs of a plan: shared ones once, under a lock, then ours and read-only."""

import fcntl
import hashlib
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path

from host.app import command_policy, environment
from host.app.command_line import Argv
from host.app.planning import INSTALL_SECONDS, Install, Plan, Tools
from host.config import Config
from host.errors import Refused
from host.files import file_lock, ownership, safe_files
from host.files.source_tree import Tree
from host.process import runner
from host.process.runner import Elsewhere, Outcome, User

ASK_SECONDS = 10.0
LOCK_TICK_SECONDS = 0.1
SEARCH = "/usr/local/bin:/usr/bin:/bin"
DONE = Outcome(0, 0.0, timed_out=False, stopped=False)


def tools(config: Config) -> Tools:
    """Return the host's installers. OROBOROS_APP_PYTHON names another interpreter than ours.

    Raises Refused `tool_missing` where there is no uv.
    """
    return _tools(config.get("OROBOROS_APP_PYTHON"))


@cache
def _tools(python: str) -> Tools:
    scripts = sysconfig.get_path("scripts")
    uv = shutil.which("uv", path=os.pathsep.join([scripts, os.defpath]))
    if uv is None:
        raise Refused("tool_missing", "There is no uv beside our Python: install the requirements.")
    python = python or os.path.realpath(sys.executable)
    version = _answer([python, "-VV"])
    npm, node = shutil.which("npm", path=SEARCH), shutil.which("node", path=SEARCH)
    node_version = _answer([node, "--version"]) if node else ""
    return Tools(uv, python, f"{python} {version}", npm or "npm", node_version)


def _answer(argv: list[str]) -> str:
    answer = runner.capture(argv, timeout=ASK_SECONDS)
    return (answer.stdout or answer.stderr).decode(errors="replace").strip()


@contextmanager
def private_folder(config: Config, user: User | None) -> Iterator[Path]:
    """Make a folder that only `user` may enter, for HOME and temporary files, and remove it."""
    parent = config.var / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="home-", dir=parent))
    ownership.give(folder, user)
    try:
        yield folder
    finally:
        ownership.delete(folder)


def is_done(config: Config, install: Install, root: Path) -> bool:
    """Tell whether the install is there, whole."""
    made = install.place(config, root) / install.makes  # gone if the tree was laid out anew
    is_whole = _use(_mark(config, install, root)) and made.is_dir()
    return is_whole and _linked(config, install, root)


def unused(config: Config, seconds: float) -> list[str]:
    """Return the names of the installs that nobody used for so long, whole or interrupted."""
    store = _store(config)
    found = {path.stem: path for path in store.glob("*.done")}
    found = {path.name: path for path in store.glob("*/")} | found
    before = time.time() - seconds
    return sorted(name for name, path in found.items() if path.stat().st_mtime < before)


def remove(config: Config, name: str, seconds: float) -> bool:
    """Remove an install; False if somebody makes it now, or used it within `seconds` after all."""
    place = _store(config) / name
    mark, gone = place.with_name(f"{name}.done"), place.with_name(f"{name}.gone")
    if not place.is_dir():
        mark.unlink(missing_ok=True)  # it was in a tree, and went with it
        return True
    # The lock's own file stays: who waits for it and who comes later must meet.
    with file_lock.held(place.with_name(f"{name}.lock"), seconds=0) as is_ours:
        if not is_ours:
            return False
        with suppress(FileNotFoundError):
            mark.rename(gone)
            if gone.stat().st_mtime >= time.time() - seconds:
                gone.rename(mark)
                return False
        ownership.delete(place)
        gone.unlink(missing_ok=True)
    return True


def make(
    config: Config,
    install: Install,
    root: Path,
    *,
    user: User | None,
    log: Path,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Make the install for the tree at `root`, unless it is there; output goes to `log`.

    A shared one is made by the installs' user, once: who comes meanwhile waits. One of the tree's
    own is made by `user`: what a branch writes is never shared.
    Returns the first command's outcome that is no success. Raises Refused `install_still_runs`.
    """
    store = _store(config)
    store.mkdir(parents=True, exist_ok=True)
    if not install.shared:
        return _run(config, install, root, user, log, stop)
    with _locked(store / f"{install.key}.lock", stop) as is_ours:
        if not is_ours:
            return _gave_up(stop)
        if not _use(_mark(config, install, root)):
            outcome = _make_shared(config, install, root, log, stop)
            if outcome.exit_code != 0:
                return outcome
    _link(config, install, root)
    return DONE


def make_all(
    config: Config,
    plan: Plan,
    root: Path,
    *,
    user: User | None,
    log: Path,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Make all installs of the plan; returns the first outcome that is no success."""
    for install in plan.installs:
        if not is_done(config, install, root):
            outcome = make(config, install, root, user=user, log=log, stop=stop)
            if outcome.exit_code != 0:
                return outcome
    return DONE


def _make_shared(
    config: Config, install: Install, root: Path, log: Path, stop: Callable[[], bool] | None
) -> Outcome:
    place, user = install.place(config, root), config.install_user
    with _turn(config, user, stop) as is_ours:
        if not is_ours:
            return _gave_up(stop)
        _end_all(user)  # what an interrupted install left
        ownership.delete(place)
        place.mkdir()
        for name in install.files:
            path = place / name
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{name} is no file of an install")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(Tree(root).read(f"{install.directory}/{name}") or b"")
        ownership.give(place, user)
        outcome = _run(config, install, root, user, log, stop)
        _end_all(user)
        if outcome.exit_code == 0:
            ownership.take(place)
            safe_files.write_atomic(_mark(config, install, root), b"")
    return outcome


def _turn(
    config: Config, user: User | None, stop: Callable[[], bool] | None
) -> AbstractContextManager[bool]:
    """Be the only one who installs as that user; False as `_locked`.

    Nothing of one package's build may be there while another's is made.
    """
    if user is None or isinstance(user, Elsewhere):  # systemd runs that user's jobs in turn
        return nullcontext(True)
    return _locked(_store(config) / "user.lock", stop)


def _end_all(user: User | None) -> None:
    """End what a package's build left running: it could change what others use.

    A job of systemd's leaves nothing. Raises Refused `install_still_runs`.
    """
    if user is not None and not isinstance(user, Elsewhere) and not user.kill_all():
        raise Refused("install_still_runs", f"Processes of uid {user.uid} cannot be killed.")


def _gave_up(stop: Callable[[], bool] | None) -> Outcome:
    """Return how it ends for who waited for another's install in vain."""
    stopped = stop is not None and stop()
    return Outcome(None, 0.0, timed_out=not stopped, stopped=stopped)


def _run(
    config: Config,
    install: Install,
    root: Path,
    user: User | None,
    log: Path,
    stop: Callable[[], bool] | None,
) -> Outcome:
    place = install.place(config, root)
    venv = place / install.makes
    with private_folder(config, user) as home:
        env = environment.for_install(config, home=home)
        if install.kind == "python":
            env |= {
                "VIRTUAL_ENV": str(venv),
                "PATH": f"{venv}/bin:{env['PATH']}",
                # Once and here: who runs the application may not write beside its modules.
                "UV_COMPILE_BYTECODE": "true",
            }
        deadline = time.monotonic() + INSTALL_SECONDS
        for argv in (*install.commands, *install.own):
            outcome = runner.run(
                _startable(config, install, root, argv),
                cwd=place,
                log=log,
                timeout=deadline - time.monotonic(),
                env=env,
                user=user,
                stop=stop,
            )
            if outcome.exit_code != 0:
                return outcome
    if not install.shared:
        _mark(config, install, root).touch()
    return DONE


def _startable(config: Config, install: Install, root: Path, argv: Argv) -> Sequence[str]:
    """Return what to start: ours as it is, one of the manifest's if it is allowed.

    Raises Refused `command_refused`.
    """
    if argv[0] == "npm" and shutil.which("npm", path=SEARCH) is None:
        detail = "npm is not on this host; install nodejs and npm."
        raise Refused("command_refused", detail, status=400)
    if argv not in install.own:
        return argv
    if argv[0] == "uv":
        command_policy.check(argv)
        return [tools(config).uv, *argv[1:]]
    bins = [install.bin(config, root)]
    return command_policy.resolve(
        argv, config, cwd=install.place(config, root), root=root, bins=bins
    )


def _store(config: Config) -> Path:
    return config.var / "cache" / "installs"


def _use(mark: Path) -> bool:
    """Say whether the install is whole, and note that it is used now: that keeps it."""
    try:
        os.utime(mark)
    except FileNotFoundError:
        return False
    return True


def _mark(config: Config, install: Install, root: Path) -> Path:
    """Return the file that says an install is whole: it lies where no job can write."""
    store = _store(config)
    if install.shared:
        return store / f"{install.key}.done"
    return store / f"{install.key}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.done"


def _linked(config: Config, install: Install, root: Path) -> bool:
    if not (install.shared and install.kind == "node"):
        return True
    link = root / install.directory / install.makes
    return link.is_symlink() and link.readlink() == install.place(config, root) / install.makes


def _link(config: Config, install: Install, root: Path) -> None:
    """Point the tree's node_modules at the shared one: node looks for it beside the code.

    A command of the branch may have put a link in place of a folder on the way: none is followed.
    Raises Refused `command_refused`.
    """
    if _linked(config, install, root):
        return
    target, name = install.place(config, root) / install.makes, install.makes
    try:
        with safe_files.folder_beneath(root, Path(install.directory).parts) as folder:
            with os.scandir(folder) as entries:
                folders = [one.name for one in entries if one.is_dir(follow_symlinks=False)]
            if name in folders:
                ownership.delete(Path(f"/proc/self/fd/{folder}", name))  # one that was committed
            safe_files.replace_link(target, Path(name), folder)
    except (Refused, FileNotFoundError):
        detail = f"{install.directory} is no folder of the tree any more: no {name} for it."
        raise Refused("command_refused", detail, status=400) from None


@contextmanager
def _locked(path: Path, stop: Callable[[], bool] | None) -> Iterator[bool]:
    """Hold the file's lock; False if `stop` said so, or the time was over, while waiting."""
    deadline = time.monotonic() + INSTALL_SECONDS
    with file_lock.opened(path) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline or (stop is not None and stop()):
                    yield False
                    return
                time.sleep(LOCK_TICK_SECONDS)
            else:
                yield True
                return
