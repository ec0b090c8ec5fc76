"""Users that commands run as, and the argv prefixes that switch to them."""

import pwd
import resource
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from host.process import process_table, termination
from host.process.inherited_state import ENV, PRLIMIT, signal_options
from host.process.outcome import Outcome
from host.process.private_tmp import PrivateFolders

# util-linux; it sets what Python could set only in `preexec_fn`, which is not safe with threads.
SETPRIV = shutil.which("setpriv") or "/usr/bin/setpriv"
CHOOM = shutil.which("choom") or "/usr/bin/choom"


@dataclass(frozen=True)
class Limits:
    """Resource limits of a user's processes (setrlimit(2)), where no service manager has its own.

    `processes` counts the threads of all processes of the user; the other limits are for each
    process. The kernel ends a process of the user first when memory runs out.
    """

    processes: int = 1024
    files: int = 8192
    data_bytes: int = 8 * 2**30
    file_bytes: int = 4 * 2**30
    oom_score: int = 500


@dataclass(frozen=True)
class User:
    """The user a process runs as, by number; it gets no supplementary groups.

    With `folders`, each program that the runner runs or spawns as it has these private folders.
    """

    uid: int
    gid: int
    folders: PrivateFolders | None = field(default=None, compare=False, kw_only=True)
    limits: Limits | None = field(default=None, compare=False, kw_only=True)

    def pids(self) -> set[int]:
        """Return the pids of this user's processes."""
        return {entry.pid for entry in process_table.list_processes_of(self.uid)}

    def kill_all(self) -> bool:
        """Kill every process of this user (as root only); returns whether all have ended."""
        return termination.kill_user(self.uid)


class DelegatedUser(User, ABC):
    """A user whose commands the host's service manager starts: we are not root."""

    @abstractmethod
    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        streams: tuple[IO[bytes], IO[bytes]],
        timeout: float,
        env: Mapping[str, str],
        stop: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Run `argv` with `streams` as its input and its output and wait, as `runner.run` does."""


def find_nobody() -> User:
    """Return the system's user without rights. Its name is in the user database, as initdb asks."""
    entry = pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


def get_gid(user: User | None) -> int | None:
    """Return the group of a user; None without one, as of a process that runs as ourselves."""
    return None if user is None else user.gid


def setpriv_argv(user: User | None, *, die_with_parent: bool) -> list[str]:
    """Return the words before argv that change the user and tie the child's life to ours."""
    options = []
    if user is not None:
        options += ["--reuid", str(user.uid), "--regid", str(user.gid), "--clear-groups"]
        options += ["--no-new-privs"]  # setuid programs such as sudo get no rights (prctl(2))
    if die_with_parent:
        # Last: the kernel clears the parent death signal when the user changes (prctl(2)).
        options += ["--pdeathsig", "KILL"]
    return [SETPRIV, *options, "--"] if options else []


def limits_argv(user: User | None) -> list[str]:
    """Return the words before argv that set the user's limits, as root, before the change."""
    limits = None if user is None else user.limits
    if limits is None:
        return []
    wanted = {
        "nproc": (resource.RLIMIT_NPROC, limits.processes),
        "nofile": (resource.RLIMIT_NOFILE, limits.files),
        "data": (resource.RLIMIT_DATA, limits.data_bytes),
        "fsize": (resource.RLIMIT_FSIZE, limits.file_bytes),
        "core": (resource.RLIMIT_CORE, 0),
    }
    options = [f"--{name}={_clamp(number, value)}" for name, (number, value) in wanted.items()]
    return [PRLIMIT, *options, "--", CHOOM, f"--adjust={limits.oom_score}", "--"]


def _clamp(number: int, value: int) -> int:
    """Return the value, or our own hard limit: in a container root may not raise it."""
    hard = resource.getrlimit(number)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def env_argv(program: str, cwd: Path, user: User | None) -> list[str]:
    """Return the words before argv that enter `cwd` with the rights of `user`, and reset signals.

    Root would also enter folders that are closed to the user: through a link that a branch
    committed, a command would reach another slot's files. Without the right, `env` exits with 125.
    """
    options = signal_options()
    if user is not None:
        options.append(f"--chdir={cwd}")
    if not options:
        return []
    words = [ENV, *options, "--"]
    # env would take a program named `a=b` for a variable, and run the next word.
    return [*words, SETPRIV, "--no-new-privs", "--"] if "=" in program else words
