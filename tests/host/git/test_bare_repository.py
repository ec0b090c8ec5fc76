"""The bare repository, against real remotes."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.git import bare_repository, changes, commit_log, git_process
from host.process.outcome import CapturedOutput

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ADA = bare_repository.Author("Ada", "ada@example.com")
SHA = "0123456789" * 4
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "t"), ("EMAIL", "t@example.com"), ("DATE", "2026-11-01T00:00Z"))
}


class Remote:
    """A bare remote, and a checkout that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "remote.git"
        self.work = folder / "work"
        self._run("init", "-q", "--bare", "-b", "main", str(self.path), cwd=folder)
        self._run("init", "-q", "-b", "main", str(self.work), cwd=folder)

    def _run(self, *arguments, cwd=None, stdin=None):
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **IDENTITY}
        return subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=cwd or self.work,
            env=env,
            input=stdin,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, branch, files, *, start="main"):
        """Push a commit with these files on `branch`, which begins at `start`; return its id."""
        known = self._run("branch", "--list", branch)
        if known:
            self._run("checkout", "-q", branch)
        elif self._run("branch", "--list", start):
            self._run("checkout", "-q", "-b", branch, start)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        self._run("add", "-A")
        self._run("commit", "-q", "-m", f"change {', '.join(files)}")
        self._run("push", "-q", str(self.path), f"HEAD:refs/heads/{branch}")
        return self._run("rev-parse", "HEAD")

    def head(self, branch="main"):
        return self._run("rev-parse", f"refs/heads/{branch}", cwd=self.path)


@pytest.fixture
def remote(tmp_path):
    return Remote(tmp_path)


@pytest.fixture
def conf(tmp_path):
    return config.load({"GIT_LOCAL_ROOTS": str(tmp_path), "PATH": os.environ["PATH"]})


@pytest.fixture
def repository(tmp_path, conf):
    made = bare_repository.Repository(tmp_path / "ours.git", conf)
    made.create_if_missing()
    return made


def test_fetching_a_branch_of_another_remote_keeps_the_branches(remote, repository, tmp_path):
    fetched = {"main": remote.commit("main", {"a": "1"})}
    fetched["feature/x"] = remote.commit("feature/x", {"b": "2"})
    repository.fetch(str(remote.path))
    (tmp_path / "elsewhere").mkdir()
    other = Remote(tmp_path / "elsewhere")
    head = other.commit("main", {"c": "3"})
    repository.fetch_ref(str(other.path), "heads/main")
    assert repository.has_commit(head)
    assert repository.list_branch_heads() == fetched


def test_a_fetch_updates_the_branches_and_deletes_the_pruned(remote, repository):
    first = remote.commit("main", {"a": "1\n"})
    second = remote.commit("feature/x", {"b": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.list_branch_heads() == {"main": first, "feature/x": second}
    assert repository.find_branch_head("feature/x") == second
    assert repository.read_remote_head(str(remote.path), "feature/x") == second
    remote._run("push", "-q", str(remote.path), ":refs/heads/feature/x")
    repository.fetch(str(remote.path))
    assert repository.find_branch_head("feature/x") is None
    assert repository.read_remote_head(str(remote.path), "feature/x") is None
    assert repository.has_commit(second)


def test_a_commit_that_was_not_fetched_is_unknown(repository):
    with pytest.raises(Refused) as refusal:
        repository.require_commit(SHA)
    assert (refusal.value.code, refusal.value.status) == ("sha_unknown", 404)


def test_a_missing_remote_is_refused_with_the_reason(repository, tmp_path):
    with pytest.raises(Refused) as refusal:
        repository.fetch(str(tmp_path / "gone.git"))
    assert refusal.value.code == "git_remote_failed"
    assert "gone.git' does not appear to be a git repository" in refusal.value.detail


def test_a_remote_that_is_not_allowed_is_not_contacted(repository):
    for ask in (repository.fetch, lambda url: repository.read_remote_head(url, "main")):
        with pytest.raises(Refused) as refusal:
            ask("ext::touch${IFS}/tmp/x")
        assert refusal.value.code == "git_url_scheme"


def test_a_merge_commit_has_two_parents_and_a_repeatable_id(remote, repository):
    base = remote.commit("main", {"a": "1\n"})
    commit = remote.commit("feature/x", {"b": "2\n"})
    repository.fetch(str(remote.path))
    merges = [
        repository.create_merge_commit(base, commit, message="Merge feature/x\n", author=ADA, at=AT)
        for _ in range(2)
    ]
    assert merges[0] == merges[1]
    sha = merges[0].commit_sha
    assert repository.list_changed_files(base, sha) == ["b"]
    raw = remote._run("--git-dir", str(repository.path), "cat-file", "-p", sha).splitlines()
    assert raw[1:3] == [f"parent {base}", f"parent {commit}"]
    assert raw[3].startswith("author Ada <ada@example.com> ")
    entries = repository.list_commits(base, sha)
    assert [entry.subject for entry in entries] == ["Merge feature/x", "change b"]
    assert entries[0].author == "Ada"


def test_a_conflict_names_its_files_and_creates_no_commit(remote, repository):
    remote.commit("main", {"a": "1\n", "dir/ü b": "1\n", "c": "same\n"})
    theirs = remote.commit("feature/x", {"a": "2\n", "dir/ü b": "2\n"})
    base = remote.commit("main", {"a": "3\n", "dir/ü b": "3\n"})
    repository.fetch(str(remote.path))
    merge = repository.create_merge_commit(base, theirs, message="m", author=ADA, at=AT)
    assert merge == bare_repository.MergeResult(None, ["a", "dir/ü b"])


def test_merging_an_unrelated_history_is_refused(remote, repository):
    base = remote.commit("main", {"a": "1\n"})
    alien = remote._run("commit-tree", "-m", "alien", f"{base}^{{tree}}")
    remote._run("push", "-q", str(remote.path), f"{alien}:refs/heads/alien")
    repository.fetch(str(remote.path))
    assert repository.find_merge_base(base, alien) is None
    with pytest.raises(Refused, match="unrelated histories"):
        repository.create_merge_commit(base, alien, message="m", author=ADA, at=AT)


def test_is_ancestor_distinguishes_old_and_new(remote, repository):
    old = remote.commit("main", {"a": "1\n"})
    new = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.is_ancestor(old, new)
    assert repository.is_ancestor(new, new)
    assert not repository.is_ancestor(new, old)
    with pytest.raises(Refused):
        repository.is_ancestor(SHA, new)


def test_filter_contained_returns_the_commits_that_a_head_contains(remote, repository):
    old = remote.commit("main", {"a": "1\n"})
    aside = remote.commit("aside", {"a": "3\n"})
    new = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    commits = [old, new, aside, SHA]  # the last is not here
    assert repository.filter_contained(new, commits) == {old, new}
    assert repository.filter_contained(aside, commits) == {old, aside}
    assert repository.filter_contained(new, [SHA, aside]) == set()
    assert (
        repository.filter_contained(new, []) == repository.filter_contained(SHA, commits) == set()
    )


def test_a_ref_moves_only_from_its_expected_commit(remote, repository):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.update_ref("refs/heads/main", one, None)
    assert not repository.update_ref("refs/heads/main", two, None)
    assert not repository.update_ref("refs/heads/main", two, two)
    assert repository.resolve_ref("refs/heads/main") == one
    assert repository.update_ref("refs/heads/main", two, one)
    assert not repository.update_ref("refs/heads/main", None, one)
    assert repository.update_ref("refs/heads/main", None, two)
    assert repository.resolve_ref("refs/heads/main") is None


def test_a_stale_lock_of_git_is_refused_after_the_retries(remote, repository, monkeypatch):
    one = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    monkeypatch.setattr(git_process, "LOCK_PAUSES", (0.001,))
    lock = repository.path / "refs" / "heads" / "main.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    with pytest.raises(Refused, match=r"main\.lock") as refusal:
        repository.update_ref("refs/heads/main", one, None)
    assert refusal.value.code == "git_locked"
    assert repository.resolve_ref("refs/heads/main") is None
    lock.unlink()
    assert repository.update_ref("refs/heads/main", one, None)


def test_a_push_is_fast_forward_only(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("feature/x", {"a": "2\n"})
    other = remote.commit("feature/y", {"b": "2\n"})
    repository.fetch(str(remote.path))
    log = tmp_path / "push.log"

    def push(sha, **more):
        return repository.push(str(remote.path), sha, "main", log=log, timeout=120, **more)

    assert push(two, dry_run=True).exit_code == 0
    assert remote.head() == one
    assert push(two).exit_code == 0
    assert remote.head() == two
    assert push(other).exit_code == 1
    assert remote.head() == two
    assert "non-fast-forward" in log.read_text()


def test_a_push_that_a_remote_hook_rejects_fails_with_its_message(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("feature/x", {"a": "2\n"})
    repository.fetch(str(remote.path))
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes on Fridays\nexit 1\n")
    hook.chmod(0o755)
    log = tmp_path / "push.log"
    outcome = repository.push(str(remote.path), two, "main", log=log, timeout=120)
    assert outcome.exit_code == 1
    assert remote.head() == one
    assert "no pushes on Fridays" in log.read_text()


def test_hooks_of_our_repository_do_not_run(remote, repository, tmp_path):
    mark = tmp_path / "mark"
    hooks = repository.path / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "pre-push", "post-checkout", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    one = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    repository.update_ref("refs/heads/main", one, None)
    repository.export_commit(one, tmp_path / "tree")
    repository.push(str(remote.path), one, "copy", log=tmp_path / "log", timeout=120)
    assert remote.head("copy") == one
    assert not mark.exists()


@pytest.mark.root
def test_a_local_remote_of_another_owner_is_trusted_by_its_path(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    for path in [remote.path, *remote.path.rglob("*")]:
        os.chown(path, 60999, 60999)
    repository.fetch(str(remote.path))
    assert repository.find_branch_head("main") == one
    log = tmp_path / "log"
    assert repository.push(str(remote.path), one, "copy", log=log, timeout=120).exit_code == 0


def test_an_exported_commit_has_its_files_unfiltered(remote, repository, tmp_path, monkeypatch):
    mark = tmp_path / "mark"
    (tmp_path / ".gitconfig").write_text(f'[filter "evil"]\n\tsmudge = touch {mark}\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    (remote.work / "link").symlink_to("/etc/passwd")
    (remote.work / "run.sh").write_text("#!/bin/sh\n")
    (remote.work / "run.sh").chmod(0o755)
    attributes = "* filter=evil\n*.txt export-ignore\n"
    sha = remote.commit("main", {".gitattributes": attributes, "dir/a.txt": "1\n"})
    repository.fetch(str(remote.path))
    destination = tmp_path / "tree"
    ignored, filtered = repository.export_commit(sha, destination)
    assert "export-ignore" in ignored and "dir/a.txt" in ignored
    assert "'evil' does not run here" in filtered
    assert (destination / "dir" / "a.txt").read_text() == "1\n"
    assert os.readlink(destination / "link") == "/etc/passwd"
    assert os.access(destination / "run.sh", os.X_OK)
    assert not (destination / ".git").exists()
    assert not mark.exists()
    assert [path.name for path in tmp_path.glob(".tree*")] == []
    with pytest.raises(FileExistsError):
        repository.export_commit(sha, destination)


def test_resolve_refs_returns_none_for_absent_refs(remote, repository):
    main = remote.commit("main", {"a": "1"})
    other = remote.commit("feature/a", {"a": "2"})
    repository.fetch(str(remote.path))
    refs = [f"refs/remotes/origin/{name}" for name in ("feature/a", "nowhere", "main", "feature")]
    assert repository.resolve_refs(*refs) == [other, None, main, None]


def test_an_interrupted_export_is_repeated(remote, repository, tmp_path):
    sha = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    (tmp_path / ".tree.partial").mkdir()
    (tmp_path / ".tree.partial" / "half").write_text("x")
    repository.export_commit(sha, tmp_path / "tree")
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["a"]


@pytest.mark.parametrize(("name", "shown"), [(b"lib", "lib"), (b"l\xffb", "l<0xFF>b")])
def test_a_submodule_is_left_out_with_a_note(remote, repository, tmp_path, name, shown):
    first = remote.commit("main", {"a": "1\n"})
    path = os.fsdecode(b"vendor/" + name)
    remote._run("update-index", "--add", "--cacheinfo", f"160000,{first},{path}")
    remote._run("commit", "-q", "-m", "submodule")
    remote._run("push", "-q", str(remote.path), "HEAD:refs/heads/main")
    repository.fetch(str(remote.path))
    notes = repository.export_commit(repository.find_branch_head("main"), tmp_path / "tree")
    assert len(notes) == 1
    assert f"The submodule vendor/{shown} was left out" in notes[0]


def test_files_are_read_from_a_commit(remote, repository):
    remote.commit("main", {"a": "1\n"})
    head = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.read_file(head, "a") == b"2\n"
    assert repository.read_file(head, "b") is None


def test_a_subject_with_unusual_line_ends_is_one_log_entry(remote, repository):
    one = remote.commit("main", {"a": "1\n"})
    two = remote._run("commit-tree", "-p", one, "-m", "x\u2028y\x0cz", f"{one}^{{tree}}")
    remote._run("push", "-q", str(remote.path), f"{two}:refs/heads/main")
    repository.fetch(str(remote.path))
    assert [entry.subject for entry in repository.list_commits(one, two)] == ["x\u2028y\x0cz"]
    assert repository.list_commits(two, two) == []


def test_concurrent_creations_and_fetches_all_succeed(remote, conf, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    rivals = [bare_repository.Repository(tmp_path / "fresh.git", conf) for _ in range(4)]

    def work(rival):
        rival.create_if_missing()
        rival.fetch(str(remote.path))
        return rival.find_branch_head("main")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, rivals)) == [one] * 4


def test_an_incomplete_repository_is_completed(conf, tmp_path):
    half = bare_repository.Repository(tmp_path / "half.git", conf)
    half.path.mkdir()
    (half.path / "HEAD").write_text("ref: refs/heads/main\n")
    half.create_if_missing()
    assert half.list_branch_heads() == {}


def test_creating_an_existing_repository_changes_nothing(repository):
    repository.create_if_missing()
    assert repository.list_branch_heads() == {}
    assert not (repository.path / "hooks").exists()


def test_git_without_disk_space_is_refused_as_disk_full(repository, monkeypatch):
    message = b"fatal: write error: No space left on device"
    answer = CapturedOutput(128, b"", message)
    monkeypatch.setattr(git_process.GitProcess, "capture", lambda self, *given, **more: answer)
    with pytest.raises(Refused) as refused:
        repository.get_tree_id("a" * 40)
    assert refused.value.code == "disk_full"


def test_what_git_prints_beyond_the_limit_is_not_read(remote, repository, monkeypatch):
    base = remote.commit("main", {"a": "1\n"})
    head = remote.commit("large", {"a": "x" * 300_000 + "\n", "b": "1\n"})
    repository.fetch(str(remote.path))
    files = repository.list_changes(base, head)
    monkeypatch.setattr(changes, "PATCH_BYTES", 200_000)
    with pytest.raises(Refused, match="git diff-tree prints more than") as caught:
        repository.read_patches(base, head, files, is_all=True)
    assert caught.value.code == "git_output_too_large"


def test_a_subject_that_is_as_long_as_a_file_is_cut(remote, repository):
    base = remote.commit("main", {"a": "1\n"})
    remote._run("commit", "-q", "--allow-empty", "-F", "-", stdin="s" * 3_000_000)
    remote._run("push", "-q", str(remote.path), "HEAD:refs/heads/long")
    repository.fetch(str(remote.path))
    [entry] = repository.list_commits(base, remote.head("long"))
    assert entry.subject.startswith("sss")
    assert len(entry.subject) <= commit_log.SUBJECT_COLUMNS
