"""What a git remote is, from the output of git ls-remote, and what to do about it."""

import subprocess

import pytest

from host import config as configuration
from host.errors import Refused
from host.git.bare_repository import Repository
from host.git.remote_refs import RemoteRefs, explain_remote, parse_remote_refs

SHA = "a" * 40


def test_the_output_of_ls_remote_is_parsed():
    text = (
        f"ref: refs/heads/master\tHEAD\n{SHA}\tHEAD\n{SHA}\trefs/heads/feature/HEAD\n"
        f"{SHA}\trefs/heads/master\n"
    )
    assert parse_remote_refs(text) == RemoteRefs("master", {"feature/HEAD": SHA, "master": SHA})


@pytest.mark.parametrize(
    ("refs", "parts"),
    [
        (RemoteRefs("", {}), ["is empty", "git push /r HEAD:refs/heads/main"]),
        (RemoteRefs("master", {"master": SHA, "x": SHA}),
         ["has no branch main", "MERGE_GATE_GIT_PUSH_BRANCH=master"]),
        (RemoteRefs("", {"trunk": SHA}), ["MERGE_GATE_GIT_PUSH_BRANCH=trunk"]),
        (RemoteRefs("", {"a": SHA, "b": SHA}), ["it has a, b", "the branch that runs are merged"]),
        (RemoteRefs("", {str(n): SHA for n in range(9)}), ["and 4 more"]),
        (RemoteRefs("main", {"main": "b" * 64}), ["SHA-256"]),
    ],
)  # fmt: skip
def test_a_remote_that_cannot_be_used_is_explained(refs, parts):
    explained = explain_remote(refs, "/r", "main")
    assert all(part in explained for part in parts)


def test_a_remote_with_the_target_branch_needs_no_explanation():
    assert explain_remote(RemoteRefs("develop", {"develop": SHA, "main": SHA}), "/r", "main") == ""


def test_a_fetch_from_a_shallow_remote_is_refused(tmp_path):
    """Git exits with 0, fetches no branch, and only warns."""
    source, shallow = tmp_path / "source", tmp_path / "shallow.git"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", "-b", "main", source], check=True)
    for message in ("one", "two"):
        commit = ["git", "-C", source, *identity, "commit", "-q", "--allow-empty", "-m", message]
        subprocess.run(commit, check=True)
    clone = ["git", "clone", "-q", "--bare", "--depth", "1", f"file://{source}", shallow]
    subprocess.run(clone, check=True)
    config = configuration.load({"GIT_LOCAL_ROOTS": str(tmp_path)})
    repository = Repository(tmp_path / "repo.git", config)
    repository.create_if_missing()
    with pytest.raises(Refused) as refused:
        repository.fetch(str(shallow))
    assert refused.value.code == "git_remote_shallow"
    assert "--unshallow" in refused.value.detail
    assert repository.read_remote_refs(str(shallow)).head_branch == "main"
