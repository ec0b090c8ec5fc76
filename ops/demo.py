"""The demo's remote: a repository of the guestbook, with a branch for each outcome of a run."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.process import runner

GIT_SECONDS = 60.0
# With a fixed author and fixed dates, the demo's commits have the same ids on every host.
IDENTITY = {
    "GIT_AUTHOR_NAME": "Oroboros demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Oroboros demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
}
FIRST_COMMIT_TIME = 1767225600  # 2026-01-01


@dataclass(frozen=True)
class Branch:
    """A branch of one commit on top of main or of its first commit, from the patch of its name."""

    name: str
    message: str
    is_from_first_commit: bool = False


BRANCHES = (
    Branch("feature/reactions", "Let visitors react to an entry with a heart"),
    Branch("feature/failing-check", "Keep messages short"),
    Branch("feature/bad-migration", "Ask every visitor for a mood"),
    Branch("feature/conflict", "Welcome visitors in other words", is_from_first_commit=True),
)


def remote_path(config: Config) -> Path:
    """Return the path of the demo's remote."""
    return config.var / "demo" / "guestbook.git"


def is_demo(config: Config) -> bool:
    """Return whether the git remote is the demo's, or not set."""
    return config.git_remote_url in ("", str(remote_path(config)))


def create_remote(config: Config) -> Path:
    """Create the remote unless it exists, and return its path."""
    target = remote_path(config)
    if not target.exists():
        fresh = target.with_name("fresh.git")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _create_commits(_HistoryBuilder(fresh, config.home / "examples"))
        fresh.rename(target)  # last: an interrupted call leaves no half-filled remote
    return target


def _create_commits(builder: "_HistoryBuilder") -> None:
    builder.git("init", "--quiet", "--bare", "--initial-branch=main", str(builder.repository))
    builder.stage_folder("guestbook")
    # The folder has main's newest state: its last commit is reverted first and then committed.
    builder.apply_patch("main", reverse=True)
    first = builder.commit("Open a guestbook", None)
    builder.apply_patch("main")
    main = builder.commit("Welcome visitors", first)
    builder.set_branch("main", main)
    for branch in BRANCHES:
        base = first if branch.is_from_first_commit else main
        builder.git("read-tree", base)
        builder.apply_patch(branch.name)
        builder.set_branch(branch.name, builder.commit(branch.message, base))


class _HistoryBuilder:
    """Creates commits in a bare repository with its index alone, without a working tree."""

    def __init__(self, repository: Path, examples: Path) -> None:
        self.repository = repository
        self.examples = examples
        self.commits = 0

    def git(self, *arguments: str, work_tree: Path | None = None) -> str:
        date = f"{FIRST_COMMIT_TIME + 3600 * self.commits} +0000"
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(self.repository),
            "GIT_INDEX_FILE": str(self.repository / "index"),
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_DATE": date,
            **IDENTITY,
        }
        argv = ["git", *arguments]
        result = runner.capture(
            argv, cwd=work_tree or self.repository, timeout=GIT_SECONDS, env=env
        )
        if result.exit_code != 0:
            error = result.stderr.decode(errors="replace").strip()
            raise Refused("demo_failed", f"git {arguments[0]} failed: {error}")
        return result.stdout.decode().strip()

    def stage_folder(self, name: str) -> None:
        folder = self.examples / name
        self.git("--work-tree", str(folder), "add", "--all", ".", work_tree=folder)

    def apply_patch(self, patch: str, *, reverse: bool = False) -> None:
        path = self.examples / "branches" / f"{patch}.patch"
        self.git("apply", "--cached", *(["--reverse"] if reverse else []), str(path))

    def commit(self, message: str, parent: str | None) -> str:
        self.commits += 1
        parents = ["-p", parent] if parent else []
        return self.git("commit-tree", self.git("write-tree"), *parents, "-m", message)

    def set_branch(self, branch: str, commit: str) -> None:
        self.git("update-ref", f"refs/heads/{branch}", commit)
