"""The demo's remote: a small history in which each branch has the outcome in its name."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from host import config as configuration
from host.app import manifest_loader
from host.git.bare_repository import Author, Repository
from ops import demo

GUESTBOOK = configuration.HOME / "examples" / "guestbook"
AUTHOR, COMMITTED_AT = Author("A", "a@example.com"), datetime(2026, 1, 1, tzinfo=UTC)
BRANCHES = ["main", *(branch.name for branch in demo.BRANCHES)]


def load(folder):
    return configuration.load({"OROBOROS_VAR": str(folder), "GIT_LOCAL_ROOTS": str(folder)})


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a repository of the control plane that has fetched the demo."""
    config = load(tmp_path_factory.mktemp("demo"))
    remote = demo.create_remote(config)
    found = Repository(config.var / "repo.git", config)
    found.create_if_missing()
    found.fetch(str(remote))
    return found


@pytest.fixture
def lay_out(repository, tmp_path):
    def lay_out(branch):
        repository.export_commit(repository.find_branch_head(branch), tmp_path / "tree")
        return tmp_path / "tree"

    return lay_out


def run_backend_tests(tree):
    """Run the backend's tests in the tree and return the exit code."""
    argv = [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."]
    return subprocess.run(argv, cwd=tree / "backend", capture_output=True).returncode


def test_main_has_the_files_of_the_guestbook(lay_out):
    tree = lay_out("main")
    found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert {"Procfile", "oroboros.toml", "backend/migrations/0001_entries.sql"} <= found
    for name in found:
        assert (tree / name).read_bytes() == (GUESTBOOK / name).read_bytes()


def test_the_demo_is_created_once_and_has_the_same_commits_everywhere(repository, tmp_path):
    config = load(tmp_path)
    remote = demo.create_remote(config)
    created_at = (remote / "HEAD").stat().st_mtime_ns
    assert demo.create_remote(config) == remote
    assert (remote / "HEAD").stat().st_mtime_ns == created_at
    other = Repository(config.var / "repo.git", config)
    other.create_if_missing()
    other.fetch(str(remote))
    for branch in BRANCHES:
        assert other.find_branch_head(branch) == repository.find_branch_head(branch)


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_has_a_complete_manifest(lay_out, branch):
    found = manifest_loader.load_manifest(lay_out(branch))
    assert found.web == ("python", "-m", "guestbook")
    assert found.release == ("python", "-m", "guestbook.migrate")
    assert found.public_dir == "frontend/dist"
    assert [check.name for check in found.checks] == ["backend", "frontend"]


@pytest.mark.parametrize("branch", BRANCHES)
def test_only_feature_failing_check_fails_its_checks(lay_out, branch):
    assert (run_backend_tests(lay_out(branch)) == 0) == (branch != "feature/failing-check")


def test_only_feature_conflict_conflicts_with_main(repository):
    main = repository.find_branch_head("main")
    conflicts = {
        branch: repository.create_merge_commit(
            main, repository.find_branch_head(branch), message="m", author=AUTHOR, at=COMMITTED_AT
        ).conflicts
        for branch in BRANCHES[1:]
    }
    assert list(conflicts.pop("feature/conflict")) == ["frontend/src/index.html"]
    assert not any(conflicts.values())


def test_the_built_assets_have_names_with_a_hash(lay_out):
    tree = lay_out("feature/reactions")
    subprocess.run([sys.executable, "build.py"], cwd=tree / "frontend", check=True)
    page = (tree / "frontend/dist/index.html").read_text()
    assets = [path.name for path in (tree / "frontend/dist/assets").iterdir()]
    assert {name.split(".")[-1] for name in assets} == {"css", "js", "svg"}
    assert all(f"/assets/{name}" in page for name in assets)
    assert 'class="react"' in page
