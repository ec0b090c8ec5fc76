"""Runs git on one bare repository: its environment, retries at git's own locks, error texts."""

import errno
import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.files import safe_files
from host.files.file_lock import file_lock
from host.git.git_commands import build_environment
from host.git.remote_errors import explain_remote_error
from host.git.remote_refs import describe_shallow_remote, has_rejected_shallow_roots
from host.git.validation import validate_remote
from host.process import runner
from host.process.outcome import CapturedOutput
from host.process.runner import OUTPUT_BYTES

LOGGER = logging.getLogger(__name__)
# Git exits with 128 for a full disk as for any other error; only its message has the reason.
DISK_FULL = os.strerror(errno.ENOSPC)
# "fatal: Unable to create '<path>.lock': File exists.", also of refs and packed-refs.
LOCKED = re.compile(r"'?([^'\n]*\.lock)'?: File exists")
LOCK_PAUSES = (
    0.1,
    0.2,
    0.4,
    0.8,
)  # seconds: another git's lock is gone by then, a stale one is not
LOCAL_SECONDS = 60.0
SUBCOMMAND = 2  # its index in what `git_argv` returns
# Commands that only read end by themselves, so they need not die with us: setpriv would add half
# as much again to the time they take.
READ_ONLY = frozenset(
    [
        "cat-file",
        "check-attr",
        "diff",
        "diff-tree",
        "for-each-ref",
        "log",
        "ls-tree",
        "merge-base",
        "rev-list",
        "rev-parse",
    ]
)


class GitProcess:
    """Runs git in the bare repository itself, never in a folder with code under preview."""

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    def run(
        self, argv: list[str], *, more_env: dict[str, str] | None = None, stdin: bytes | None = None
    ) -> str:
        """Run a local command and return its output as text. Raises as `read_bytes`."""
        return to_text(self.read_bytes(argv, more_env=more_env, stdin=stdin))

    def read_bytes(
        self,
        argv: list[str],
        *,
        more_env: dict[str, str] | None = None,
        stdin: bytes | None = None,
        cwd: Path | None = None,
        limit: int = OUTPUT_BYTES,
    ) -> bytes:
        """Run a local command and return its output. `cwd` and `limit` are as for `capture`.

        Raises Refused `git_failed`, `git_locked`, `disk_full`, `git_output_too_large`.
        """
        env = self.environment() | (more_env or {})
        answer = self.capture(argv, env, stdin=stdin, cwd=cwd, limit=limit)
        if answer.exit_code != 0:
            raise git_failed(argv, answer)
        return answer.stdout

    def run_remote(self, remote: str, argv: list[str], timeout: float) -> str:
        """Run a command that contacts `remote`, and return its output.

        What git warns about is logged. Raises Refused `git_remote_failed`, `git_remote_shallow`,
        or as `validate_remote`.
        """
        validate_remote(remote, self.config)
        answer = self.capture(argv, self.environment(remote), timeout=timeout)
        if answer.exit_code != 0:
            reason = self._explain(answer, remote, timeout)
            if DISK_FULL in to_text(answer.stderr):
                raise Refused("disk_full", f"git {argv[SUBCOMMAND]}: {reason}")
            raise Refused("git_remote_failed", f"The git remote did not answer: {reason}")
        errors = to_text(answer.stderr)
        if has_rejected_shallow_roots(errors):
            raise Refused("git_remote_shallow", describe_shallow_remote(remote))
        if errors.strip():
            LOGGER.warning("git %s: %s", argv[SUBCOMMAND], errors.strip())
        return to_text(answer.stdout)

    def capture(
        self,
        argv: list[str],
        env: dict[str, str] | None = None,
        *,
        stdin: bytes | None = None,
        timeout: float = LOCAL_SECONDS,
        cwd: Path | None = None,
        limit: int = OUTPUT_BYTES,
    ) -> CapturedOutput:
        """Run git, and again after a pause while another git holds a lock file.

        `cwd` is the repository, or a folder of ours to which GIT_WORK_TREE points. Raises Refused
        `git_locked` if the lock file stays, and `git_output_too_large` if it prints more than
        `limit` bytes, which are not read: a branch must not fill the memory of a worker.
        """
        env = env or self.environment()
        lock = ""
        for pause in (0.0, *LOCK_PAUSES):
            time.sleep(pause)
            answer = runner.capture(
                argv,
                cwd=cwd or self.path,
                timeout=timeout,
                env=env,
                stdin=stdin,
                die_with_parent=argv[SUBCOMMAND] not in READ_ONLY,
                limit=limit,
            )
            if answer.is_too_long:
                raise _refuse_output(argv, limit)
            match = LOCKED.search(to_text(answer.stderr)) if answer.exit_code else None
            if match is None:
                return answer
            lock = match[1]
        raise Refused(
            "git_locked",
            f"Git's lock {lock} stays: if no git is running there, remove that file and retry.",
        )

    def environment(self, remote: str = "") -> dict[str, str]:
        """Return git's whole environment for commands that contact `remote`, or no remote."""
        return build_environment(self.config, self._global_config(remote), remote)

    def _explain(self, answer: CapturedOutput, remote: str, timeout: float) -> str:
        if answer.exit_code is None:
            return f"no answer within {timeout:.0f} s"
        text = explain_remote_error(to_text(answer.stderr), self.config, remote)
        return text or f"exit code {answer.exit_code}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of fetches: two at once fail at each other's lock files of refs."""
        with file_lock(self.path / "oroboros.alone", seconds=None):
            yield

    def _global_config(self, remote: str) -> Path:
        """Return the configuration file that trusts a local remote of another owner."""
        if not remote.startswith("/"):
            return Path("/dev/null")
        path = self.path / f"trusted-{hashlib.sha256(remote.encode()).hexdigest()[:12]}"
        if not path.exists():
            quoted = remote.replace("\\", "\\\\").replace('"', '\\"')
            safe_files.write_atomic(path, f'[safe]\n\tdirectory = "{quoted}"\n'.encode(), 0o644)
        return path


def git_failed(argv: list[str], answer: CapturedOutput) -> Refused:
    """Return the refusal for a local command that failed."""
    reason = _find_reason(answer, LOCAL_SECONDS)
    code = "disk_full" if DISK_FULL in to_text(answer.stderr) else "git_failed"
    return Refused(code, f"git {argv[SUBCOMMAND]}: {reason}")


def _refuse_output(argv: list[str], limit: int) -> Refused:
    detail = f"git {argv[SUBCOMMAND]} prints more than {limit // 2**20} MiB, which are not read."
    return Refused("git_output_too_large", detail)


def to_text(raw: bytes) -> str:
    """Decode git's output; bytes that are not UTF-8 are replaced."""
    return raw.decode("utf-8", "replace")


def split_lines(text: str) -> list[str]:
    """Split at line feeds only: names and subjects may contain what `splitlines` splits at."""
    return text.rstrip("\n").split("\n") if text else []


def split_paths(text: str) -> list[str]:
    """Split the NUL-terminated paths that git prints with `-z`."""
    return [path for path in text.split("\0") if path]


def _find_reason(answer: CapturedOutput, timeout: float) -> str:
    if answer.exit_code is None:
        return f"no answer within {timeout:.0f} s"
    # The first line names the error; the last lines of a remote's answer are only advice.
    lines = [line for line in to_text(answer.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if not line.lower().startswith("warning:")] or lines
    return errors[0] if errors else f"exit code {answer.exit_code}"
