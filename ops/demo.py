"""The demo's remote: a bare repository of the guestbook whose branches end in different ways."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.process import runner

GIT_SECONDS = 60.0
# Author and dates are fixed, so that everybody's demo has the same commits.
WHO = {
    "GIT_AUTHOR_NAME": "Oroboros demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Oroboros demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
}
BEGUN = 1767225600  # 2026-01-01


@dataclass(frozen=True)
class Branch:
    """One commit on top of main (or of where main began), from a patch of the same name."""

    name: str
    message: str
    from_start: bool = False


BRANCHES = (
    Branch("feature/reactions", "Let visitors react to an entry with a heart"),
    Branch("feature/failing-check", "Keep messages short"),
    Branch("feature/bad-migration", "Ask every visitor for a mood"),
    Branch("feature/conflict", "Welcome visitors in other words", from_start=True),
)


def remote(config: Config) -> Path:
    """Return where the demo's remote lies."""
    return config.var / "demo" / "guestbook.git"


def make(config: Config) -> Path:
    """Make the remote if it is not there, whole or not at all, and return where it lies."""
    target = remote(config)
    if not target.exists():
        fresh = target.with_name("fresh.git")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        _fill(_Builder(fresh, config.home / "examples"))
        fresh.rename(target)
    return target


def _fill(builder: "_Builder") -> None:
    builder.git("init", "--quiet", "--bare", "--initial-branch=main", str(builder.repository))
    builder.stage_folder("guestbook")
    builder.apply("main", reverse=True)  # main's last change is taken back, then made again
    start = builder.commit("Open a guestbook", None)
    builder.apply("main")
    main = builder.commit("Welcome visitors", start)
    builder.point("main", main)
    for branch in BRANCHES:
        base = start if branch.from_start else main
        builder.git("read-tree", base)
        builder.apply(branch.name)
        builder.point(branch.name, builder.commit(branch.message, base))


class _Builder:
    """Makes commits in a bare repository, by way of its index only."""

    def __init__(self, repository: Path, examples: Path) -> None:
        self.repository = repository
        self.examples = examples
        self.commits = 0

    def git(self, *arguments: str, place: Path | None = None) -> str:
        when = f"{BEGUN + 3600 * self.commits} +0000"
        env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(self.repository),
            "GIT_INDEX_FILE": str(self.repository / "index"),
            "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_DATE": when,
            **WHO,
        }
        argv = ["git", *arguments]
        done = runner.capture(argv, cwd=place or self.repository, timeout=GIT_SECONDS, env=env)
        if done.exit_code != 0:
            said = done.stderr.decode(errors="replace").strip()
            raise Refused("demo_failed", f"git {arguments[0]} failed: {said}")
        return done.stdout.decode().strip()

    def stage_folder(self, name: str) -> None:
        folder = self.examples / name
        self.git("--work-tree", str(folder), "add", "--all", ".", place=folder)

    def apply(self, patch: str, *, reverse: bool = False) -> None:
        path = self.examples / "branches" / f"{patch}.patch"
        self.git("apply", "--cached", *(["--reverse"] if reverse else []), str(path))

    def commit(self, message: str, parent: str | None) -> str:
        self.commits += 1
        parents = ["-p", parent] if parent else []
        return self.git("commit-tree", self.git("write-tree"), *parents, "-m", message)

    def point(self, branch: str, commit: str) -> None:
        self.git("update-ref", f"refs/heads/{branch}", commit)
