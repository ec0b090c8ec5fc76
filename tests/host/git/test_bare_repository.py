"""git.py against real bare repositories; gitcommand.py as lists and refusals."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.git import bare_repository, git_commands

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ADA = bare_repository.Author("Ada", "ada@example.com")
SHA = "0123456789" * 4
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "t"), ("EMAIL", "t@example.com"), ("DATE", "2026-11-01T00:00Z"))
}


class Remote:
    """A bare remote and a checkout that pushes to it, by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "remote.git"
        self.work = folder / "work"
        self._run("init", "-q", "--bare", "-b", "main", str(self.path), cwd=folder)
        self._run("init", "-q", "-b", "main", str(self.work), cwd=folder)

    def _run(self, *arguments, cwd=None):
        env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **IDENTITY}
        return subprocess.run(
            ["git", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=cwd or self.work,
            env=env,
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
    made.ensure()
    return made


# names that are refused before anything runs


@pytest.mark.parametrize(
    "name",
    [
        "",
        "-uorigin",
        "--output=/etc/cron.d/x",
        "main --force",
        "a..b",
        "@",
        "HEAD",
        "FETCH_HEAD",
        "feature:main",
        ":/fix bug",
        "feature.lock",
        "feature.lock/x",
        "refs/heads/main",
        "a//b",
        "/a",
        "a/",
        ".a",
        "a.",
        "a~1",
        "a^",
        "a@{1}",
        "a\\b",
        "a*",
        "a\n",
        "a\0b",
        "a;reboot",
        "a$(id)",
        "a\u202eb",
        "\ud800",
    ],
)
def test_what_is_no_branch_name_is_refused(name):
    with pytest.raises(Refused) as refusal:
        bare_repository.validate_ref(name)
    assert (refusal.value.code, refusal.value.status) == ("ref_invalid", 400)


def test_a_branch_name_has_at_most_200_characters():
    bare_repository.validate_ref("x" * 200)
    with pytest.raises(Refused) as refusal:
        bare_repository.validate_ref("x" * 201)
    assert refusal.value.code == "ref_too_long"


@pytest.mark.parametrize("name", ["main", "feature/reactions", "v1.2", "grün", "fix-#12", "a@b"])
def test_ordinary_branch_names_pass(name):
    assert bare_repository.validate_ref(name) == name


@pytest.mark.parametrize("sha", ["deadbee", "DEADBEEF" * 5, "HEAD~1", "", SHA + "\n", "a" * 41])
def test_only_a_full_lower_case_id_names_a_commit(sha):
    with pytest.raises(Refused) as refusal:
        bare_repository.validate_sha(sha)
    assert (refusal.value.code, refusal.value.status) == ("sha_invalid", 400)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "git_url_invalid"),
        ("file:///etc", "git_url_scheme"),
        ("fd::17/foo", "git_url_scheme"),
        ("ext::sh -c id", "git_url_invalid"),
        ("git@git.example:x.git", "git_url_scheme"),
        ("ssh://-oProxyCommand=touch%20x/repo", "git_url_invalid"),
        ("https://git.example@evil.example/x.git", "git_url_host"),
        ("https://git.example/x.git\n[core]\n\tfsmonitor=touch x", "git_url_invalid"),
        ("http://169.254.169.254/latest/", "git_url_scheme"),
        ("https://user:secret@git.example/x.git", "git_url_invalid"),
        ("https://git.example/x.git?a=b", "git_url_invalid"),
        ("https://git.example:port/x.git", "git_url_invalid"),
        ("https://[bad/x.git", "git_url_invalid"),
        ("/etc", "git_url_path"),
        ("/srv/git/../../etc", "git_url_path"),
        ("--upload-pack=touch x", "git_url_invalid"),
        ("--upload-pack=x", "git_url_scheme"),
        ("relative/path", "git_url_scheme"),
    ],
)
def test_a_remote_that_this_host_may_not_ask_is_refused(url, code):
    conf = config.load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    with pytest.raises(Refused) as refusal:
        bare_repository.validate_remote(url, conf)
    assert (refusal.value.code, refusal.value.status) == (code, 400)


@pytest.mark.parametrize(
    "url", ["https://git.example/x.git", "ssh://git@git.example:2222/x.git", "/srv/git/x.git"]
)
def test_the_operators_remotes_pass(url):
    conf = config.load({"GIT_LOCAL_ROOTS": "/srv/git", "GIT_ALLOWED_HOSTS": "git.example"})
    assert bare_repository.validate_remote(url, conf) == url


def test_without_a_list_only_the_configured_remotes_host_is_asked():
    conf = config.load({"GIT_REMOTE_URL": "https://git.example/x.git"})
    bare_repository.validate_remote("https://git.example/y.git", conf)
    with pytest.raises(Refused, match="GIT_ALLOWED_HOSTS"):
        bare_repository.validate_remote("https://other.example/y.git", conf)


def test_a_link_out_of_the_local_roots_is_refused(tmp_path):
    (tmp_path / "roots").mkdir()
    (tmp_path / "roots" / "x.git").symlink_to("/etc")
    conf = config.load({"GIT_LOCAL_ROOTS": str(tmp_path / "roots")})
    with pytest.raises(Refused) as refusal:
        bare_repository.validate_remote(str(tmp_path / "roots" / "x.git"), conf)
    assert refusal.value.code == "git_url_path"


# argv and environment


def test_a_push_moves_one_branch_and_is_never_forced():
    argv = git_commands.push_argv(Path("/r"), "/remote", SHA, "main", dry_run=True)
    assert argv == [
        "git",
        "--git-dir=/r",
        "push",
        "--porcelain",
        "--no-follow-tags",
        "--recurse-submodules=no",
        "--dry-run",
        "--",
        "/remote",
        f"{SHA}:refs/heads/main",
    ]


def test_a_fetch_takes_all_branches_and_forgets_the_gone_ones():
    argv = git_commands.fetch_argv(Path("/r"), "/remote")
    assert argv[-3:] == ["--", "/remote", "+refs/heads/*:refs/remotes/origin/*"]
    assert {"--prune", "--no-tags", "--no-recurse-submodules"} < set(argv)


def test_a_branch_of_another_remote_is_taken_beside_what_was_fetched(remote, repository, tmp_path):
    fetched = {"main": remote.commit("main", {"a": "1"})}
    fetched["feature/x"] = remote.commit("feature/x", {"b": "2"})
    repository.fetch(str(remote.path))
    (tmp_path / "elsewhere").mkdir()
    other = Remote(tmp_path / "elsewhere")
    head = other.commit("main", {"c": "3"})
    repository.fetch_branch(str(other.path), "main")
    assert repository.has(head)
    assert repository.branches() == fetched


def test_gits_environment_is_built_from_empty():
    conf = config.load({"PATH": "/bin", "GIT_SSH_COMMAND": "touch x", "SECRET_KEY": "s" * 40})
    env = git_commands.environment(conf, Path("/dev/null"))
    assert "SECRET_KEY" not in env
    assert env["GIT_ALLOW_PROTOCOL"] == ""
    assert env["GIT_TERMINAL_PROMPT"] == "0"
    assert env["GIT_CONFIG_NOSYSTEM"] == "1"
    assert env["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert "touch" not in env["GIT_SSH_COMMAND"]
    settings = {
        env[f"GIT_CONFIG_KEY_{n}"]: env[f"GIT_CONFIG_VALUE_{n}"]
        for n in range(int(env["GIT_CONFIG_COUNT"]))
    }
    assert settings["core.hooksPath"] == "/dev/null"


@pytest.mark.parametrize(
    ("remote", "protocol"),
    [("/srv/x.git", "file"), ("https://git.example/x", "https"), ("ssh://g@git.example/x", "ssh")],
)
def test_only_the_remotes_own_protocol_is_allowed(remote, protocol):
    env = git_commands.environment(config.load({}), Path("/dev/null"), remote)
    assert env["GIT_ALLOW_PROTOCOL"] == protocol


def test_ssh_believes_pinned_hosts_and_offers_the_deploy_key_alone():
    conf = config.load({"GIT_SSH_KEY_FILE": "/k/id", "GIT_SSH_KNOWN_HOSTS_FILE": "/k/a b"})
    command = git_commands.ssh_command(conf)
    assert "-F /dev/null" in command
    assert "StrictHostKeyChecking=yes" in command
    assert "'UserKnownHostsFile=\"/k/a b\"'" in command
    assert "IdentitiesOnly=yes -i /k/id" in command


# on real repositories


def test_a_fetch_brings_the_branches_and_drops_the_deleted(remote, repository):
    first = remote.commit("main", {"a": "1\n"})
    second = remote.commit("feature/x", {"b": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.branches() == {"main": first, "feature/x": second}
    assert repository.branch_sha("feature/x") == second
    assert repository.remote_head(str(remote.path), "feature/x") == second
    remote._run("push", "-q", str(remote.path), ":refs/heads/feature/x")
    repository.fetch(str(remote.path))
    assert repository.branch_sha("feature/x") is None
    assert repository.remote_head(str(remote.path), "feature/x") is None
    assert repository.has(second)


def test_a_commit_that_was_never_fetched_is_unknown(repository):
    with pytest.raises(Refused) as refusal:
        repository.known(SHA)
    assert (refusal.value.code, refusal.value.status) == ("sha_unknown", 404)


def test_a_remote_that_is_gone_is_said_so(repository, tmp_path):
    with pytest.raises(Refused) as refusal:
        repository.fetch(str(tmp_path / "gone.git"))
    assert refusal.value.code == "git_remote_failed"
    assert "gone.git' does not appear to be a git repository" in refusal.value.detail


def test_a_refused_remote_is_never_asked(repository):
    for ask in (repository.fetch, lambda url: repository.remote_head(url, "main")):
        with pytest.raises(Refused) as refusal:
            ask("ext::touch${IFS}/tmp/x")
        assert refusal.value.code == "git_url_scheme"


def test_a_merge_has_two_parents_and_the_same_id_when_repeated(remote, repository):
    base = remote.commit("main", {"a": "1\n"})
    commit = remote.commit("feature/x", {"b": "2\n"})
    repository.fetch(str(remote.path))
    merges = [
        repository.merge(base, commit, message="Merge feature/x\n", author=ADA, at=AT)
        for _ in range(2)
    ]
    assert merges[0] == merges[1]
    sha = merges[0].commit_sha
    assert repository.changed_files(base, sha) == ["b"]
    raw = remote._run("--git-dir", str(repository.path), "cat-file", "-p", sha).splitlines()
    assert raw[1:3] == [f"parent {base}", f"parent {commit}"]
    assert raw[3].startswith("author Ada <ada@example.com> ")
    entries = repository.log(base, sha)
    assert [entry.subject for entry in entries] == ["Merge feature/x", "change b"]
    assert entries[0].author == "Ada"


def test_a_conflict_names_its_files_and_makes_no_commit(remote, repository):
    remote.commit("main", {"a": "1\n", "dir/ü b": "1\n", "c": "same\n"})
    theirs = remote.commit("feature/x", {"a": "2\n", "dir/ü b": "2\n"})
    base = remote.commit("main", {"a": "3\n", "dir/ü b": "3\n"})
    repository.fetch(str(remote.path))
    merge = repository.merge(base, theirs, message="m", author=ADA, at=AT)
    assert merge == bare_repository.Merge(None, ["a", "dir/ü b"])


def test_a_branch_of_another_history_is_refused(remote, repository):
    base = remote.commit("main", {"a": "1\n"})
    alien = remote._run("commit-tree", "-m", "alien", f"{base}^{{tree}}")
    remote._run("push", "-q", str(remote.path), f"{alien}:refs/heads/alien")
    repository.fetch(str(remote.path))
    assert repository.merge_base(base, alien) is None
    with pytest.raises(Refused, match="unrelated histories"):
        repository.merge(base, alien, message="m", author=ADA, at=AT)


def test_ancestry_is_asked_both_ways(remote, repository):
    old = remote.commit("main", {"a": "1\n"})
    new = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.is_ancestor(old, new)
    assert repository.is_ancestor(new, new)
    assert not repository.is_ancestor(new, old)
    with pytest.raises(Refused):
        repository.is_ancestor(SHA, new)


def test_of_many_commits_those_are_told_that_a_head_contains(remote, repository):
    old = remote.commit("main", {"a": "1\n"})
    aside = remote.commit("aside", {"a": "3\n"})
    new = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    commits = [old, new, aside, SHA]  # the last is not here
    assert repository.contained(new, commits) == {old, new}
    assert repository.contained(aside, commits) == {old, aside}
    assert repository.contained(new, [SHA, aside]) == set()
    assert repository.contained(new, []) == repository.contained(SHA, commits) == set()


def test_a_ref_moves_only_from_where_it_was_seen(remote, repository):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.update_ref("refs/heads/main", one, None)
    assert not repository.update_ref("refs/heads/main", two, None)
    assert not repository.update_ref("refs/heads/main", two, two)
    assert repository.head("refs/heads/main") == one
    assert repository.update_ref("refs/heads/main", two, one)
    assert not repository.update_ref("refs/heads/main", None, one)
    assert repository.update_ref("refs/heads/main", None, two)
    assert repository.head("refs/heads/main") is None


def test_a_stale_lock_is_waited_for_then_refused(remote, repository, monkeypatch):
    one = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    monkeypatch.setattr(bare_repository, "LOCK_PAUSES", (0.001,))
    lock = repository.path / "refs" / "heads" / "main.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    with pytest.raises(Refused, match=r"main\.lock") as refusal:
        repository.update_ref("refs/heads/main", one, None)
    assert refusal.value.code == "git_locked"
    assert repository.head("refs/heads/main") is None
    lock.unlink()
    assert repository.update_ref("refs/heads/main", one, None)


def test_a_push_goes_forward_and_never_back(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("feature/x", {"a": "2\n"})
    other = remote.commit("feature/y", {"b": "2\n"})
    repository.fetch(str(remote.path))
    log = tmp_path / "push.log"

    def push(sha, **more):
        return repository.push(str(remote.path), sha, "main", log=log, timeout=30, **more)

    assert push(two, dry_run=True).exit_code == 0
    assert remote.head() == one
    assert push(two).exit_code == 0
    assert remote.head() == two
    assert push(other).exit_code == 1
    assert remote.head() == two
    assert "non-fast-forward" in log.read_text()


def test_a_remotes_hook_may_reject_a_push_and_is_heard(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("feature/x", {"a": "2\n"})
    repository.fetch(str(remote.path))
    hook = remote.path / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho no pushes on Fridays\nexit 1\n")
    hook.chmod(0o755)
    log = tmp_path / "push.log"
    outcome = repository.push(str(remote.path), two, "main", log=log, timeout=30)
    assert outcome.exit_code == 1
    assert remote.head() == one
    assert "no pushes on Fridays" in log.read_text()


def test_no_hook_of_our_own_repository_runs(remote, repository, tmp_path):
    mark = tmp_path / "mark"
    hooks = repository.path / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("reference-transaction", "pre-push", "post-checkout", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    one = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    repository.update_ref("refs/heads/main", one, None)
    repository.lay_out(one, tmp_path / "tree")
    repository.push(str(remote.path), one, "copy", log=tmp_path / "log", timeout=30)
    assert remote.head("copy") == one
    assert not mark.exists()


@pytest.mark.root
def test_a_local_remote_of_another_owner_is_trusted_by_its_path_alone(remote, repository, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    for path in [remote.path, *remote.path.rglob("*")]:
        os.chown(path, 60999, 60999)
    repository.fetch(str(remote.path))
    assert repository.branch_sha("main") == one
    log = tmp_path / "log"
    assert repository.push(str(remote.path), one, "copy", log=log, timeout=30).exit_code == 0


def test_a_commit_is_laid_out_as_it_is(remote, repository, tmp_path, monkeypatch):
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
    assert repository.lay_out(sha, destination) == []
    assert (destination / "dir" / "a.txt").read_text() == "1\n"
    assert os.readlink(destination / "link") == "/etc/passwd"
    assert os.access(destination / "run.sh", os.X_OK)
    assert not (destination / ".git").exists()
    assert not mark.exists()
    assert [path.name for path in tmp_path.glob(".tree*")] == []
    with pytest.raises(FileExistsError):
        repository.lay_out(sha, destination)


def test_several_refs_are_read_at_once(remote, repository):
    main = remote.commit("main", {"a": "1"})
    other = remote.commit("feature/a", {"a": "2"})
    repository.fetch(str(remote.path))
    refs = [f"refs/remotes/origin/{name}" for name in ("feature/a", "nowhere", "main", "feature")]
    assert repository.heads(*refs) == [other, None, main, None]


def test_a_layout_that_was_cut_off_is_done_over(remote, repository, tmp_path):
    sha = remote.commit("main", {"a": "1\n"})
    repository.fetch(str(remote.path))
    (tmp_path / ".tree.partial").mkdir()
    (tmp_path / ".tree.partial" / "half").write_text("x")
    repository.lay_out(sha, tmp_path / "tree")
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["a"]


@pytest.mark.parametrize("name", [b"lib", b"l\xffb"])
def test_a_submodule_is_left_out_with_a_word(remote, repository, tmp_path, name):
    first = remote.commit("main", {"a": "1\n"})
    path = os.fsdecode(b"vendor/" + name)
    remote._run("update-index", "--add", "--cacheinfo", f"160000,{first},{path}")
    remote._run("commit", "-q", "-m", "submodule")
    remote._run("push", "-q", str(remote.path), "HEAD:refs/heads/main")
    repository.fetch(str(remote.path))
    notes = repository.lay_out(repository.branch_sha("main"), tmp_path / "tree")
    assert len(notes) == 1
    assert f"vendor/{name.decode(errors='replace')}" in notes[0]


def test_files_and_patches_are_read_without_a_checkout(remote, repository):
    one = remote.commit("main", {"a": "1\n"})
    two = remote.commit("main", {"a": "2\n"})
    repository.fetch(str(remote.path))
    assert repository.show_file(two, "a") == b"2\n"
    assert repository.show_file(two, "b") is None
    assert "-1\n+2\n" in repository.diff(one, two)
    assert len(repository.diff(one, two, limit=10)) == 10


def test_a_subject_with_odd_line_ends_is_one_entry(remote, repository):
    one = remote.commit("main", {"a": "1\n"})
    two = remote._run("commit-tree", "-p", one, "-m", "x\u2028y\x0cz", f"{one}^{{tree}}")
    remote._run("push", "-q", str(remote.path), f"{two}:refs/heads/main")
    repository.fetch(str(remote.path))
    assert [entry.subject for entry in repository.log(one, two)] == ["x\u2028y\x0cz"]
    assert repository.log(two, two) == []


def test_rivals_that_make_and_fetch_at_once_all_succeed(remote, conf, tmp_path):
    one = remote.commit("main", {"a": "1\n"})
    rivals = [bare_repository.Repository(tmp_path / "fresh.git", conf) for _ in range(4)]

    def work(rival):
        rival.ensure()
        rival.fetch(str(remote.path))
        return rival.branch_sha("main")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, rivals)) == [one] * 4


def test_a_repository_that_was_half_made_is_completed(conf, tmp_path):
    half = bare_repository.Repository(tmp_path / "half.git", conf)
    half.path.mkdir()
    (half.path / "HEAD").write_text("ref: refs/heads/main\n")
    half.ensure()
    assert half.branches() == {}


def test_to_ensure_a_repository_twice_is_harmless(repository):
    repository.ensure()
    assert repository.branches() == {}
    assert not (repository.path / "hooks").exists()
