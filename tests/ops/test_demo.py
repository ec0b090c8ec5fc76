"""The demo's remote: a small history whose branches end as their names say."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from host import config as configuration
from host.app import manifest
from host.git.bare_repository import Author, Repository
from ops import demo

GUESTBOOK = configuration.HOME / "examples" / "guestbook"
SOMEBODY, AT = Author("A", "a@example.com"), datetime(2026, 1, 1, tzinfo=UTC)
BRANCHES = ["main", *(branch.name for branch in demo.BRANCHES)]


def settings(folder):
    return configuration.load({"OROBOROS_VAR": str(folder), "GIT_LOCAL_ROOTS": str(folder)})


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a control plane's repository that has fetched the demo."""
    config = settings(tmp_path_factory.mktemp("demo"))
    remote = demo.make(config)
    found = Repository(config.var / "repo.git", config)
    found.ensure()
    found.fetch(str(remote))
    return found


@pytest.fixture
def lay_out(repository, tmp_path):
    def lay_out(branch):
        repository.lay_out(repository.branch_sha(branch), tmp_path / "tree")
        return tmp_path / "tree"

    return lay_out


def checks(tree):
    """Run the backend's tests in the tree and return the exit code."""
    argv = [sys.executable, "-m", "unittest", "discover", "-s", "tests", "-t", "."]
    return subprocess.run(argv, cwd=tree / "backend", capture_output=True).returncode


def test_main_is_the_guestbook_as_it_lies_in_the_examples(lay_out):
    tree = lay_out("main")
    found = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    assert {"Procfile", "oroboros.toml", "backend/migrations/0001_entries.sql"} <= found
    for name in found:
        assert (tree / name).read_bytes() == (GUESTBOOK / name).read_bytes()


def test_the_demo_is_made_once_and_everybodys_is_the_same(repository, tmp_path):
    config = settings(tmp_path)
    remote = demo.make(config)
    made = (remote / "HEAD").stat().st_mtime_ns
    assert demo.make(config) == remote
    assert (remote / "HEAD").stat().st_mtime_ns == made
    other = Repository(config.var / "repo.git", config)
    other.ensure()
    other.fetch(str(remote))
    for branch in BRANCHES:
        assert other.branch_sha(branch) == repository.branch_sha(branch)


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_branch_says_how_to_run_it(lay_out, branch):
    said = manifest.load(lay_out(branch))
    assert said.web == ("python", "-m", "guestbook")
    assert said.release == ("python", "-m", "guestbook.migrate")
    assert said.public == "frontend/dist"
    assert [check.name for check in said.checks] == ["backend", "frontend"]


@pytest.mark.parametrize("branch", BRANCHES)
def test_only_the_branch_of_that_name_fails_its_checks(lay_out, branch):
    assert (checks(lay_out(branch)) == 0) == (branch != "feature/failing-check")


def test_only_the_branch_of_that_name_conflicts_with_main(repository):
    main = repository.branch_sha("main")
    conflicts = {
        branch: repository.merge(
            main, repository.branch_sha(branch), message="m", author=SOMEBODY, at=AT
        ).conflicts
        for branch in BRANCHES[1:]
    }
    assert list(conflicts.pop("feature/conflict")) == ["frontend/src/index.html"]
    assert not any(conflicts.values())


def test_the_page_is_built_under_names_made_from_the_content(lay_out):
    tree = lay_out("feature/reactions")
    subprocess.run([sys.executable, "build.py"], cwd=tree / "frontend", check=True)
    page = (tree / "frontend/dist/index.html").read_text()
    assets = [path.name for path in (tree / "frontend/dist/assets").iterdir()]
    assert {name.split(".")[-1] for name in assets} == {"css", "js", "svg"}
    assert all(f"/assets/{name}" in page for name in assets)
    assert 'class="react"' in page
