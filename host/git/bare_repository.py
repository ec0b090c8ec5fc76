"""A bare repository of the control plane, asked from outside: there is never a checkout.

Git's working directory is the bare repository itself, never code under preview: a commit is laid
out in a folder that is empty when git gets there, and that git sees no second time.
"""

import fcntl
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.files import ownership, safe_files, safe_walk
from host.git.git_commands import (
    command,
    commit_argv,
    environment,
    fetch_argv,
    fetch_branch_argv,
    merge_argv,
    push_argv,
    remote_head_argv,
    update_ref_argv,
    validate_ref,
    validate_remote,
    validate_sha,
)
from host.process import runner

__all__ = [
    "Author",
    "LogEntry",
    "Merge",
    "Repository",
    "validate_ref",
    "validate_remote",
    "validate_sha",
]

LOCKED = re.compile(r"'?([^'\n]*\.lock)'?: File exists")
LOCK_PAUSES = (0.1, 0.2, 0.4, 0.8)  # seconds: a rival's lock is gone by then, a stale one is not
SECONDS = 60.0  # for what stays on this machine
NETWORK_SECONDS = 180.0
DIFF_BYTES = 1024 * 1024
SUBCOMMAND = 2  # its place among what `command` returns
# What only looks ends by itself: a tie to our life would cost it half as much again.
LOOKS = frozenset(
    [
        "cat-file",
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
COMMITTER = ("Oroboros", "oroboros@localhost")


@dataclass(frozen=True)
class Author:
    """Who a merge commit names as its author."""

    name: str
    email: str


@dataclass(frozen=True)
class Merge:
    """A merge commit, or the files that conflict (then there is no commit)."""

    commit_sha: str | None
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LogEntry:
    """One commit of a history; `at` is ISO 8601 with its offset."""

    sha: str
    author: str
    at: str
    subject: str


class Repository:
    """A bare repository of the control plane: `refs/heads/*` ours, `refs/remotes/origin/*` theirs.

    A lock file in the way is waited for a little, then refused as `git_locked`; what git could
    not do otherwise is `git_failed`, and `git_remote_failed` where a remote was asked.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config

    def ensure(self) -> None:
        """Make the repository if it is not there."""
        if (self.path / "objects" / "info").exists():  # what git makes last
            return
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        branch = validate_ref(self.config.target_branch)
        options = ["--quiet", "--bare", "--template=", f"--initial-branch={branch}"]
        with self._alone():
            self._git(command(self.path, "init", *options))

    def fetch(self, remote: str, *, timeout: float = NETWORK_SECONDS) -> None:
        """Take the remote's branches as refs/remotes/origin/*; one fetch at a time."""
        with self._alone():
            self._ask(remote, fetch_argv(self.path, remote), timeout)

    def fetch_branch(self, remote: str, branch: str, *, timeout: float = NETWORK_SECONDS) -> None:
        """Have the commits of one branch here, of any remote: refs/remotes/origin/* stay."""
        with self._alone():
            self._ask(remote, fetch_branch_argv(self.path, remote, branch), timeout)

    def remote_head(
        self, remote: str, branch: str, *, timeout: float = NETWORK_SECONDS
    ) -> str | None:
        """Return the commit the remote's branch is at now, without fetching it."""
        answer = self._ask(remote, remote_head_argv(self.path, remote, branch), timeout)
        return answer.split()[0] if answer else None

    def push(
        self,
        remote: str,
        source: str,
        branch: str,
        *,
        log: Path,
        timeout: float = NETWORK_SECONDS,
        dry_run: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> runner.Outcome:
        """Push the commit `source` to `branch`, fast-forward only; git's words go to `log`.

        A refusal and a timeout are answers (exit code 1 or None): whoever pushes then asks
        `remote_head` what is there. `stop` ends it as a timeout does.
        """
        validate_remote(remote, self.config)
        argv = push_argv(self.path, remote, source, branch, dry_run=dry_run)
        env = self._environment(remote)
        return runner.run(argv, cwd=self.path, log=log, timeout=timeout, env=env, stop=stop)

    def branch_sha(self, name: str) -> str | None:
        """Return the commit of the remote's branch as last fetched."""
        return self.head(f"refs/remotes/origin/{validate_ref(name)}")

    def branches(self) -> dict[str, str]:
        """Return the remote's branches as last fetched, with their commits."""
        form = "--format=%(objectname) %(refname:lstrip=3)"
        lines = self._git(command(self.path, "for-each-ref", form, "refs/remotes/origin"))
        return {name: sha for sha, name in (line.split(" ", 1) for line in _lines(lines))}

    def head(self, ref: str) -> str | None:
        """Return the commit a full ref (`refs/…`) names, or None."""
        options = ["--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        answer = self._capture(command(self.path, "rev-parse", *options))
        return _text(answer.stdout).strip() if answer.exit_code == 0 else None

    def heads(self, *refs: str) -> list[str | None]:
        """Return the commits of several full refs, read at one moment; None where there is none."""
        form = "--format=%(refname) %(objectname)"
        lines = self._git(command(self.path, "for-each-ref", form, *refs))
        found = dict(line.split(" ") for line in _lines(lines))
        return [found.get(ref) for ref in refs]

    def has(self, commit: str) -> bool:
        """Tell whether that commit is here."""
        argv = command(self.path, "cat-file", "-e", f"{validate_sha(commit)}^{{commit}}")
        return self._capture(argv).exit_code == 0

    def known(self, commit: str) -> str:
        """Return `commit` if it is here. Raises Refused `sha_invalid`, `sha_unknown` (404)."""
        if not self.has(commit):
            raise Refused("sha_unknown", "No branch of the git remote has that commit.", status=404)
        return commit

    def is_ancestor(self, old: str, new: str) -> bool:
        """Tell whether `new` contains `old` (a commit contains itself)."""
        if old == new:
            return True
        options = ["--is-ancestor", validate_sha(old), validate_sha(new)]
        argv = command(self.path, "merge-base", *options)
        answer = self._capture(argv)
        if answer.exit_code not in (0, 1):
            raise _failed(argv, answer)
        return answer.exit_code == 0

    def contained(self, head: str, commits: Iterable[str]) -> set[str]:
        """Return those of the commits that `head` contains: two gits, however many they are.

        What is not here, as after a restore, contains nothing and is contained in nothing.
        """
        asked = {validate_sha(one) for one in commits}
        form = "--batch-check=%(objectname) %(objecttype)"
        words = "".join(f"{one}\n" for one in {validate_sha(head), *asked})
        found = self._git(command(self.path, "cat-file", form), stdin=words.encode())
        here = {line.split(" ")[0] for line in _lines(found) if line.endswith(" commit")}
        known = asked & here
        if head not in here or not known:
            return set()
        words = "".join(f"{one}\n" for one in (f"^{head}", *known))
        beyond = self._git(command(self.path, "rev-list", "--stdin"), stdin=words.encode())
        return known.difference(_lines(beyond))

    def update_ref(self, ref: str, new: str | None, old: str | None) -> bool:
        """Compare and swap: False, and nothing changed, if `ref` was not at `old`."""
        argv = update_ref_argv(self.path, ref, new, old)
        answer = self._capture(argv)
        if answer.exit_code == 0:
            return True
        if self.head(ref) != old:
            return False
        raise _failed(argv, answer)

    def merge(self, base: str, commit: str, *, message: str, author: Author, at: datetime) -> Merge:
        """Merge `commit` into `base` as a commit with both as parents, in no branch yet.

        `at` dates it, so that the same call makes the same id again.
        """
        argv = merge_argv(self.path, base, commit)
        answer = self._capture(argv)
        if answer.exit_code not in (0, 1):
            raise _failed(argv, answer)
        tree, *conflicts = _text(answer.stdout).rstrip("\0").split("\0")
        if answer.exit_code == 1:
            return Merge(None, sorted(set(conflicts)))
        sha = self._git(
            commit_argv(self.path, tree, [base, commit]),
            more_env=_identity(author, at),
            stdin=message.encode(),
        )
        return Merge(sha.strip())

    def changed_files(self, old: str, new: str) -> list[str]:
        """Return the files in which the two trees differ."""
        options = ["-r", "--name-only", "--no-renames", "-z", validate_sha(old), validate_sha(new)]
        names = self._git(command(self.path, "diff-tree", *options))
        return [name for name in names.split("\0") if name]

    def log(self, old: str, new: str, *, limit: int = 200) -> list[LogEntry]:
        """Return the commits of `new` that `old` has not, newest first."""
        options = ["--format=%H%x00%an%x00%aI%x00%s", f"--max-count={limit}"]
        span = f"{validate_sha(old)}..{validate_sha(new)}"
        lines = self._git(command(self.path, "log", *options, span, "--"))
        return [LogEntry(*line.split("\0")) for line in _lines(lines)]

    def merge_base(self, one: str, other: str) -> str | None:
        """Return the commit from which the two grew, None if they share none."""
        argv = command(self.path, "merge-base", validate_sha(one), validate_sha(other))
        answer = self._capture(argv)
        return _text(answer.stdout).strip() if answer.exit_code == 0 else None

    def diff(self, old: str, new: str, *, limit: int = DIFF_BYTES) -> str:
        """Return the patch from one tree to the other, cut after `limit` characters."""
        options = ["--no-ext-diff", "--no-textconv", "--no-color"]
        argv = command(self.path, "diff", *options, validate_sha(old), validate_sha(new), "--")
        return self._git(argv)[:limit]

    def show_file(self, commit: str, path: str) -> bytes | None:
        """Return a file's content in that commit, None if it has no such file."""
        argv = command(self.path, "cat-file", "blob", f"{validate_sha(commit)}:{path}")
        answer = self._capture(argv)
        return answer.stdout if answer.exit_code == 0 else None

    def tree(self, commit: str) -> str:
        """Return the id of the commit's tree: the same files, the same id."""
        argv = command(self.path, "rev-parse", f"{validate_sha(commit)}^{{tree}}")
        return self._git(argv).strip()

    def files(self, commit: str) -> list[str]:
        """Return the paths of all files in that commit."""
        options = ["-r", "--name-only", "-z", validate_sha(commit)]
        names = self._git(command(self.path, "ls-tree", *options))
        return [name for name in names.split("\0") if name]

    def lay_out(self, commit: str, destination: Path) -> list[str]:
        """Write the commit's files to `destination`, which must not exist; all of them or none.

        With an index of its own, no hooks and no filters; links are laid out as they are.
        Returns sentences about what was left out (submodules).
        """
        if destination.exists():
            raise FileExistsError(destination)
        partial = destination.with_name(f".{destination.name}.partial")
        ownership.delete(partial)
        partial.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="layout-", dir=self.path) as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(partial)}
            self._check_out(commit, env)
        partial.rename(destination)
        return [
            f"The submodule {path} was left out: previews have no submodules."
            for path in _empty_folders(destination)
        ]

    def _check_out(self, commit: str, env: dict[str, str]) -> None:
        argv = command(self.path, "read-tree", "--reset", "-u", validate_sha(commit))
        try:
            self._git(argv, more_env=env)
        except Refused:
            self.known(commit)
            raise

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from the same work: two gits would trip over each other's locks."""
        with (self.path / "oroboros.alone").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _environment(self, remote: str = "") -> dict[str, str]:
        return environment(self.config, self._global_config(remote), remote)

    def _global_config(self, remote: str) -> Path:
        """Return the file that trusts a local remote of another owner; none, /dev/null."""
        if not remote.startswith("/"):
            return Path("/dev/null")
        path = self.path / f"trusted-{hashlib.sha256(remote.encode()).hexdigest()[:12]}"
        if not path.exists():
            quoted = remote.replace("\\", "\\\\").replace('"', '\\"')
            safe_files.write_atomic(path, f'[safe]\n\tdirectory = "{quoted}"\n'.encode(), 0o644)
        return path

    def _ask(self, remote: str, argv: list[str], timeout: float) -> str:
        validate_remote(remote, self.config)
        answer = self._capture(argv, self._environment(remote), timeout=timeout)
        if answer.exit_code != 0:
            reason = _reason(answer, timeout)
            raise Refused("git_remote_failed", f"The git remote did not answer: {reason}")
        return _text(answer.stdout)

    def _git(
        self, argv: list[str], *, more_env: dict[str, str] | None = None, stdin: bytes | None = None
    ) -> str:
        answer = self._capture(argv, self._environment() | (more_env or {}), stdin=stdin)
        if answer.exit_code != 0:
            raise _failed(argv, answer)
        return _text(answer.stdout)

    def _capture(
        self,
        argv: list[str],
        env: dict[str, str] | None = None,
        *,
        stdin: bytes | None = None,
        timeout: float = SECONDS,
    ) -> runner.Captured:
        """Run git, again after a pause where another git's lock was in the way."""
        env = env or self._environment()
        lock = ""
        for pause in (0.0, *LOCK_PAUSES):
            time.sleep(pause)
            answer = runner.capture(
                argv,
                cwd=self.path,
                timeout=timeout,
                env=env,
                stdin=stdin,
                tied=argv[SUBCOMMAND] not in LOOKS,
            )
            match = LOCKED.search(_text(answer.stderr)) if answer.exit_code else None
            if match is None:
                return answer
            lock = match[1]
        raise Refused(
            "git_locked",
            f"Git's lock {lock} stays: if no git is running there, remove that file and retry.",
        )


def _identity(author: Author, at: datetime) -> dict[str, str]:
    date = at.isoformat(timespec="seconds")
    return {
        # Git refuses a name that is nothing but signs.
        "GIT_AUTHOR_NAME": author.name if re.search(r"\w", author.name) else "unknown",
        "GIT_AUTHOR_EMAIL": author.email,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": COMMITTER[0],
        "GIT_COMMITTER_EMAIL": COMMITTER[1],
        "GIT_COMMITTER_DATE": date,
    }


def _empty_folders(tree: Path) -> list[str]:
    """Return the paths of the submodules in a tree as git laid it out: no other is empty."""
    found = [
        "/".join(folder.way)
        for folder in safe_walk.folders(tree)
        if folder.way and not (folder.folders or folder.names)
    ]
    return sorted(_text(os.fsencode(path)) for path in found)


def _lines(text: str) -> list[str]:
    """Split at line feeds alone: names and subjects may hold what `splitlines` splits at, too."""
    return text.rstrip("\n").split("\n") if text else []


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _reason(answer: runner.Captured, timeout: float) -> str:
    if answer.exit_code is None:
        return f"no answer within {timeout:.0f} s"
    # The first line says what is wrong; a remote's last ones only advise to look.
    lines = [line for line in _text(answer.stderr).splitlines() if line.strip()]
    told = [line for line in lines if not line.lower().startswith("warning:")] or lines
    return told[0] if told else f"exit code {answer.exit_code}"


def _failed(argv: list[str], answer: runner.Captured) -> Refused:
    return Refused("git_failed", f"git {argv[SUBCOMMAND]}: {_reason(answer, SECONDS)}")
