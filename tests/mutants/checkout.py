"""A copy of the checkout in which mutants are made, and commands that run in it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECONDS = 30.0
# A PID namespace: what runs in it neither sees nor ends another process of the host.
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
# The first process of a namespace is ended by no other one in it, and waits for orphans.
INIT = ["sh", "-c", '"$@"; exit "$?"', "sh"]


@dataclass(frozen=True)
class Completed:
    """A command that ended; `exit_code` is None if it was killed after its time."""

    exit_code: int | None
    output: str


@cache
def isolate_argv() -> tuple[str, ...]:
    """Return the words before argv that keep it from the host's processes; none if it cannot be.

    A mutant of what ends processes may end each one that it sees, and as root that is each of the
    host. The kernel of a container, or of a host for its ordinary users, may refuse a namespace.
    """
    words = [*UNSHARE, *([] if os.geteuid() == 0 else ["--map-current-user"])]
    try:
        done = subprocess.run([*words, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return ()
    return (*words, *INIT) if done.returncode == 0 else ()


@contextmanager
def copy_checkout() -> Iterator[Path]:
    """Yield a copy of the files that git knows, as they are in the working tree."""
    # Processes of other users start from it, so they must be able to enter it.
    folder = Path(tempfile.mkdtemp(prefix="oroboros-mutants-"))
    folder.chmod(0o755)
    try:
        for name in list_files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target, follow_symlinks=False)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def list_files() -> list[str]:
    """Return the files of the working tree that git knows or that are new in it."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and os.path.lexists(ROOT / name)]


def run_in(folder: Path, argv: Sequence[str], *, seconds: float) -> Completed:
    """Run a command in the copy, apart from other processes (`isolate_argv`).

    It and what it started are killed after `seconds`.
    """
    env = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        # pytest takes a second to import the plugins of packages that these tests do not use.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            # SIGINT is ignored in the background of a shell, and the child would ignore it as well.
            [*isolate_argv(), "env", "--default-signal=INT", *argv],
            cwd=folder,
            env=env,
            stdout=output,
            stderr=output,
            process_group=0,
        ) as process,
    ):
        exit_code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                exit_code = process.wait(seconds)
        finally:  # also if a person interrupts us
            _end(process)
        output.seek(0)
        return Completed(exit_code, output.read())


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command if it still runs."""
    if process.poll() is None:
        # As from a terminal: pytest then ends its fixtures and its PostgreSQL.
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def run_pytest(folder: Path, tests: Sequence[str], *, seconds: float) -> Completed:
    """Run these tests in the copy until one of them fails."""
    options = ["-q", "-x", "-p", "pytest_django.plugin", "-p", "no:cacheprovider"]
    return run_in(folder, [sys.executable, "-m", "pytest", *options, *tests], seconds=seconds)
