"""Which commit `manage.py deploy` builds."""

import subprocess

from host import config as configuration
from host.git.bare_repository import Repository
from releases.deployments.deploy_commit import resolve_commit

IDENTITY = ("git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com")


def run_git(*words, cwd):
    done = subprocess.run([*IDENTITY, *words], cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder, message):
    run_git("commit", "-q", "--allow-empty", "-m", message, cwd=folder)
    return run_git("rev-parse", "HEAD", cwd=folder)


def test_a_branch_is_fetched_so_that_a_pushed_fix_is_deployed_and_not_the_commit_before(tmp_path):
    remote = tmp_path / "remote"
    remote.mkdir()
    run_git("init", "-q", "-b", "main", cwd=remote)
    values = {"OROBOROS_VAR": str(tmp_path / "var"), "GIT_REMOTE_URL": str(remote)}
    config = configuration.load({**values, "GIT_LOCAL_ROOTS": str(tmp_path)})
    repository = Repository(tmp_path / "var" / "repo.git", config)
    repository.create_if_missing()
    broken = commit(remote, "broken")
    assert resolve_commit(config, repository, "main") == broken
    fixed = commit(remote, "a fix")
    assert resolve_commit(config, repository, "main") == fixed
    # A commit that is named in full is that commit, whatever the branch is by now.
    assert resolve_commit(config, repository, broken) == broken


def test_our_own_branch_wins_until_the_remotes_contains_it(tmp_path):
    remote = tmp_path / "remote"
    remote.mkdir()
    run_git("init", "-q", "-b", "main", cwd=remote)
    first = commit(remote, "first")
    values = {"OROBOROS_VAR": str(tmp_path / "var"), "GIT_REMOTE_URL": str(remote)}
    config = configuration.load({**values, "GIT_LOCAL_ROOTS": str(tmp_path)})
    repository = Repository(tmp_path / "var" / "repo.git", config)
    repository.create_if_missing()
    assert resolve_commit(config, repository, "main") == first
    repository.update_ref("refs/heads/main", first, None)
    newer = commit(remote, "newer")
    assert resolve_commit(config, repository, "main") == newer
    repository.update_ref("refs/heads/main", newer, first)
    run_git("reset", "-q", "--hard", first, cwd=remote)
    assert resolve_commit(config, repository, "main") == newer
