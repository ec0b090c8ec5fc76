"""The control plane's bare repository, read and changed without a checkout.

A commit is exported to an empty folder, which git does not use again afterwards.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.git import changes, checkout_notes, commit_log, reverts
from host.git.changes import ChangedFile, PatchLine
from host.git.checkout_notes import LeftOut
from host.git.commit_log import LogEntry
from host.git.git_commands import (
    commit_argv,
    fetch_argv,
    fetch_ref_argv,
    git_argv,
    merge_argv,
    push_argv,
    remote_head_argv,
    remote_refs_argv,
    update_ref_argv,
)
from host.git.git_process import GitProcess, git_failed, split_lines, split_paths, to_text
from host.git.remote_refs import RemoteRefs, parse_remote_refs
from host.git.validation import validate_ref, validate_remote, validate_sha
from host.process import runner
from host.process.outcome import Outcome
from host.visible_text import decode

NETWORK_SECONDS = 180.0
COMMITTER = ("Oroboros", "oroboros@localhost")


@dataclass(frozen=True)
class Author:
    """The author of a merge commit."""

    name: str
    email: str


@dataclass(frozen=True)
class MergedTree:
    """The tree that a merge makes, or without one the files that conflict."""

    tree_id: str | None
    conflicts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MergeResult:
    """A merge commit, or without one the files that conflict."""

    commit_sha: str | None
    conflicts: list[str] = field(default_factory=list)


def get_repository(config: Config) -> "Repository":
    """Return the control plane's repository, which may not exist yet (`create_if_missing`)."""
    return Repository(config.var / "repo.git", config)


class Repository:
    """A bare repository: `refs/heads/*` are ours, `refs/remotes/origin/*` the remote's.

    Every method may raise Refused `git_locked` (a lock file of git stays) or `git_failed`, and
    those that contact a remote `git_remote_failed`.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.config = config
        self._git = GitProcess(path, config)

    def create_if_missing(self) -> None:
        """Create the repository if it does not exist."""
        if (self.path / "objects" / "info").exists():  # git creates it last
            return
        # 0700: branches that no preview shows may hold code other users must not read.
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        branch = validate_ref(self.config.target_branch)
        # An empty template: no sample hooks, no info/exclude of the host.
        options = ["--quiet", "--bare", "--template=", f"--initial-branch={branch}"]
        with self._git.lock():
            self._git.run(git_argv(self.path, "init", *options))

    def fetch(self, remote: str, *, timeout: float = NETWORK_SECONDS) -> None:
        """Fetch the remote's branches to refs/remotes/origin/*; one fetch at a time."""
        # Git does not wait: two fetches at once fail at the lock of a ref.
        with self._git.lock():
            self._git.run_remote(remote, fetch_argv(self.path, remote), timeout)

    def fetch_ref(self, remote: str, ref: str, *, timeout: float = NETWORK_SECONDS) -> None:
        """Fetch the commits of one ref of any remote, such as heads/main or pull/7/head.

        refs/remotes/origin/* do not change.
        """
        with self._git.lock():
            self._git.run_remote(remote, fetch_ref_argv(self.path, remote, ref), timeout)

    def read_remote_head(
        self, remote: str, branch: str, *, timeout: float = NETWORK_SECONDS
    ) -> str | None:
        """Return the head of the remote's branch without fetching it; None if there is none."""
        answer = self._git.run_remote(remote, remote_head_argv(self.path, remote, branch), timeout)
        return answer.split()[0] if answer else None

    def read_remote_refs(self, remote: str, *, timeout: float = NETWORK_SECONDS) -> RemoteRefs:
        """Return the remote's branches and its HEAD without fetching them."""
        argv = remote_refs_argv(self.path, remote)
        return parse_remote_refs(self._git.run_remote(remote, argv, timeout))

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
    ) -> Outcome:
        """Push the commit `source` to `branch`, fast-forward only; git's output goes to `log`.

        A refused push has exit code 1, a push that timed out or was stopped None: it may have
        reached the remote all the same, so the caller then reads `read_remote_head`.
        """
        validate_remote(remote, self.config)
        argv = push_argv(self.path, remote, source, branch, dry_run=dry_run)
        env = self._git.environment(remote)
        return runner.run(argv, cwd=self.path, log=log, timeout=timeout, env=env, stop=stop)

    def find_branch_head(self, name: str) -> str | None:
        """Return the head of the remote's branch as last fetched; None if there is none."""
        return self.resolve_ref(f"refs/remotes/origin/{validate_ref(name)}")

    def list_branch_heads(self) -> dict[str, str]:
        """Return the remote's branches as last fetched: name to head."""
        form = "--format=%(objectname) %(refname:lstrip=3)"
        lines = self._git.run(git_argv(self.path, "for-each-ref", form, "refs/remotes/origin"))
        return {name: sha for sha, name in (line.split(" ", 1) for line in split_lines(lines))}

    def resolve_ref(self, ref: str) -> str | None:
        """Return the commit of a full ref (`refs/…`); None if it does not exist."""
        # ^{commit} peels an annotated tag, and refuses what is not a commit.
        options = ["--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"]
        answer = self._git.capture(git_argv(self.path, "rev-parse", *options))
        return to_text(answer.stdout).strip() if answer.exit_code == 0 else None

    def resolve_refs(self, *refs: str) -> list[str | None]:
        """Return the commits of full refs, read in one git command; None for an absent ref."""
        form = "--format=%(refname) %(objectname)"
        lines = self._git.run(git_argv(self.path, "for-each-ref", form, *refs))
        commits = dict(line.split(" ") for line in split_lines(lines))
        return [commits.get(ref) for ref in refs]

    def has_commit(self, commit: str) -> bool:
        """Return whether the repository has that commit."""
        argv = git_argv(self.path, "cat-file", "-e", f"{validate_sha(commit)}^{{commit}}")
        return self._git.capture(argv).exit_code == 0

    def require_commit(self, commit: str) -> str:
        """Return `commit` if we have it. Raises Refused `sha_invalid`, `sha_unknown` (404)."""
        if not self.has_commit(commit):
            raise Refused("sha_unknown", "No branch of the git remote has that commit.", status=404)
        return commit

    def is_ancestor(self, old: str, new: str) -> bool:
        """Return whether `new` contains `old` (a commit contains itself)."""
        if old == new:
            return True
        options = ["--is-ancestor", validate_sha(old), validate_sha(new)]
        argv = git_argv(self.path, "merge-base", *options)
        answer = self._git.capture(argv)
        # 1 means no; any other code is an error, such as a commit that is missing.
        if answer.exit_code not in (0, 1):
            raise git_failed(argv, answer)
        return answer.exit_code == 0

    def filter_contained(self, head: str, commits: Iterable[str]) -> set[str]:
        """Return those of the commits that `head` contains, with two git commands for any number.

        A commit that the repository lacks, as after a restored backup, is contained in none.
        """
        validated = {validate_sha(commit) for commit in commits}
        form = "--batch-check=%(objectname) %(objecttype)"
        words = "".join(f"{commit}\n" for commit in {validate_sha(head), *validated})
        found = self._git.run(git_argv(self.path, "cat-file", form), stdin=words.encode())
        present = {line.split(" ")[0] for line in split_lines(found) if line.endswith(" commit")}
        known = validated & present
        if head not in present or not known:
            return set()
        words = "".join(f"{commit}\n" for commit in (f"^{head}", *known))
        beyond = self._git.run(git_argv(self.path, "rev-list", "--stdin"), stdin=words.encode())
        return known.difference(split_lines(beyond))

    def update_ref(self, ref: str, new: str | None, old: str | None) -> bool:
        """Move `ref` from `old` to `new`; returns False if it was not at `old`."""
        argv = update_ref_argv(self.path, ref, new, old)
        answer = self._git.capture(argv)
        if answer.exit_code == 0:
            return True
        # Git's error does not say why it failed; the ref itself does.
        if self.resolve_ref(ref) != old:
            return False
        raise git_failed(argv, answer)

    def create_merge_commit(
        self, base: str, commit: str, *, message: str, author: Author, at: datetime
    ) -> MergeResult:
        """Create a merge commit with the parents `base` and `commit`; no ref points to it yet.

        `at` is its date, so that a repeated call creates the same id.
        """
        merged = self.merge_trees(base, commit)
        if merged.tree_id is None:
            return MergeResult(None, merged.conflicts)
        parents = [base, commit]
        return MergeResult(self._create_commit(merged.tree_id, parents, message, author, at))

    def create_commit_with_files_of(
        self, source: str, parent: str, *, message: str, author: Author, at: datetime
    ) -> str:
        """Create a commit on top of `parent` with the files of `source`; no ref points to it yet.

        `at` is its date, so that a repeated call creates the same id.
        """
        return self._create_commit(self.get_tree_id(source), [parent], message, author, at)

    def _create_commit(
        self, tree: str, parents: list[str], message: str, author: Author, at: datetime
    ) -> str:
        argv, identity = commit_argv(self.path, tree, parents), _identity_env(author, at)
        return self._git.run(argv, more_env=identity, stdin=message.encode()).strip()

    def merge_trees(self, base: str, commit: str) -> MergedTree:
        """Merge `commit` into `base` as `git merge` does in a checkout of `base`, without a commit.

        The merge attributes are those of the base's .gitattributes files, as in such a checkout
        (gitattributes(5), "Performing a three-way merge"). Raises Refused `unrelated_history` if
        the two have no common ancestor.
        """
        argv = merge_argv(self.path, base, commit)
        with tempfile.TemporaryDirectory(prefix="attributes-", dir=self.path) as scratch:
            checkout_notes.write_attribute_files(self._git, base, Path(scratch))
            # merge-tree reads the attributes below its working directory, in a bare repository
            # none. --attr-source would need git 2.41.
            env = {**self._git.environment(), "GIT_WORK_TREE": scratch}
            answer = self._git.capture(argv, env, cwd=Path(scratch))
        # 1 means conflicts: the tree is printed all the same.
        if answer.exit_code not in (0, 1):
            if self.find_merge_base(base, commit) is None:
                raise Refused("unrelated_history", f"{commit} and {base} have unrelated histories.")
            raise git_failed(argv, answer)
        tree, *conflicts = decode(answer.stdout).rstrip("\0").split("\0")
        if answer.exit_code == 1:
            return MergedTree(None, sorted(set(conflicts)))
        return MergedTree(tree)

    def list_changed_files(self, old: str, new: str) -> list[str]:
        """Return the paths of the files in which the two trees differ."""
        options = ["-r", "--name-only", "--no-renames", "-z", validate_sha(old), validate_sha(new)]
        return split_paths(self._git.run(git_argv(self.path, "diff-tree", *options)))

    def list_deleted_files(self, old: str, new: str) -> list[str]:
        """Return the paths of the files that `old` has and `new` has not."""
        options = ["-r", "--name-only", "--no-renames", "--diff-filter=D", "-z"]
        argv = git_argv(self.path, "diff-tree", *options, validate_sha(old), validate_sha(new))
        return split_paths(self._git.run(argv))

    def list_commits(self, old: str, new: str, *, limit: int = 200) -> list[LogEntry]:
        """Return the commits that `new` contains and `old` does not, newest first."""
        options = [commit_log.FORMAT, f"--max-count={limit}"]
        span = f"{validate_sha(old)}..{validate_sha(new)}"
        answer = self._git.run(git_argv(self.path, "log", *options, span, "--"))
        return commit_log.parse_log(split_lines(answer))

    def read_subject(self, commit: str) -> str:
        """Return the first line of a commit's message."""
        options = [commit_log.FORMAT, "--max-count=1"]
        argv = git_argv(self.path, "log", *options, validate_sha(commit), "--")
        return commit_log.parse_log(split_lines(self._git.run(argv)))[0].subject

    def list_reverted(self, base: str, commit: str, *, limit: int = 200) -> list[str]:
        """Return commits that `commit` contains and `base` has reverted since, newest first."""
        span = f"{validate_sha(commit)}..{validate_sha(base)}"
        options = [*reverts.LOG_OPTIONS, f"--max-count={limit}"]
        raw = self._git.run(git_argv(self.path, "log", *options, span, "--"))
        found = filter(self.has_commit, reverts.parse_reverted(raw))
        return [one for one in found if self._brings(one, commit)]

    def _brings(self, reverted: str, commit: str) -> bool:
        argv = git_argv(self.path, "rev-list", "--no-walk", "--parents", reverted, "--")
        first, *parents = self._git.run(argv).split()
        return any(self.is_ancestor(one, commit) for one in reverts.list_brought(first, parents))

    def list_author_addresses(self, old: str, new: str) -> list[str]:
        """Return the e-mail addresses of who wrote and who committed what `new` adds to `old`."""
        span = f"{validate_sha(old)}..{validate_sha(new)}"
        argv = git_argv(self.path, "log", commit_log.ADDRESS_FORMAT, span, "--")
        return sorted({line.rstrip(" ") for line in split_lines(self._git.run(argv))})

    def find_merge_base(self, first: str, second: str) -> str | None:
        """Return the best common ancestor of the two; None if they have none."""
        argv = git_argv(self.path, "merge-base", validate_sha(first), validate_sha(second))
        answer = self._git.capture(argv)
        return to_text(answer.stdout).strip() if answer.exit_code == 0 else None

    def count_commits(self, old: str, new: str) -> int:
        """Return how many commits `new` contains and `old` does not."""
        options = ["--count", f"{validate_sha(old)}..{validate_sha(new)}", "--"]
        return int(self._git.run(git_argv(self.path, "rev-list", *options)))

    def list_changes(self, old: str, new: str) -> list[ChangedFile]:
        """Return every file in which the two trees differ, with its status and numbers of lines."""
        return changes.list_changes(self._git, old, new)

    def read_sizes(self, files: Iterable[ChangedFile]) -> dict[str, int]:
        """Return the sizes in bytes of the files before and after, by the ids of their blobs."""
        return changes.read_sizes(self._git, files)

    def read_patches(
        self, old: str, new: str, files: Sequence[ChangedFile], *, is_all: bool
    ) -> dict[str, list[PatchLine]]:
        """Return the lines of the patches of some of the `list_changes`, or all, by path."""
        return changes.read_patches(self._git, old, new, files, is_all=is_all)

    def read_file(self, commit: str, path: str) -> bytes | None:
        """Return a file's content in that commit; None if it has no such file.

        Raises Refused `git_output_too_large` for more than 64 MiB.
        """
        argv = git_argv(self.path, "cat-file", "blob", f"{validate_sha(commit)}:{path}")
        answer = self._git.capture(argv)
        return answer.stdout if answer.exit_code == 0 else None

    def get_tree_id(self, commit: str) -> str:
        """Return the id of the commit's tree; commits with the same files have the same one."""
        argv = git_argv(self.path, "rev-parse", f"{validate_sha(commit)}^{{tree}}")
        return self._git.run(argv).strip()

    def list_files(self, commit: str) -> list[str]:
        """Return the paths of all files in that commit."""
        options = ["-r", "--name-only", "-z", validate_sha(commit)]
        return split_paths(self._git.run(git_argv(self.path, "ls-tree", *options)))

    def export_commit(self, commit: str, destination: Path) -> list[str]:
        """Write the commit's files to `destination`, which must not exist; all of them or none.

        Git uses a temporary index and runs no hooks and no filters; links are written as links.
        Returns sentences about what the files lack compared with a checkout, such as submodules.
        """
        if destination.exists():
            raise FileExistsError(destination)
        # Renamed at the end, so that `destination` exists only when it is complete.
        partial = destination.with_name(f".{destination.name}.partial")
        ownership.delete_tree(partial)
        partial.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="layout-", dir=self.path) as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index", "GIT_WORK_TREE": str(partial)}
            self._check_out(commit, env)
        partial.rename(destination)
        return checkout_notes.describe(self.find_left_out(commit))

    def find_left_out(self, commit: str) -> LeftOut:
        """Return what the commit's files lack when they are exported, such as submodules."""
        return checkout_notes.find_left_out(self._git, validate_sha(commit))

    def _check_out(self, commit: str, env: dict[str, str]) -> None:
        argv = git_argv(self.path, "read-tree", "--reset", "-u", validate_sha(commit))
        try:
            self._git.run(argv, more_env=env)
        except Refused:
            self.require_commit(commit)
            raise


def _identity_env(author: Author, at: datetime) -> dict[str, str]:
    date = at.isoformat(timespec="seconds")
    return {
        # Git refuses a name without a letter or digit.
        "GIT_AUTHOR_NAME": author.name if re.search(r"\w", author.name) else "unknown",
        "GIT_AUTHOR_EMAIL": author.email,
        "GIT_AUTHOR_DATE": date,
        "GIT_COMMITTER_NAME": COMMITTER[0],
        "GIT_COMMITTER_EMAIL": COMMITTER[1],
        "GIT_COMMITTER_DATE": date,
    }
