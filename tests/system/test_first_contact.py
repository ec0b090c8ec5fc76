"""Quickstart where a host differs: the name and modes of the folder, the shell, the remote."""

import os
import re
import subprocess

import pytest

from tests.environment import free_port
from tests.system.host import Host

GIT = (
    "git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com",
    "-c", "protocol.file.allow=always", "-c", "safe.directory=*",
)  # fmt: skip


def run_git(*arguments, cwd):
    subprocess.run([*GIT, *map(str, arguments)], cwd=cwd, check=True, capture_output=True)


def close_to_others(folder):
    """Set the modes that a clone under umask 077 has."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o077)


@pytest.fixture
def checkout():
    """A copy of the checkout, in a folder whose name has blanks."""
    host = Host("oroboros first contact ")
    try:
        yield host
    finally:
        host.close()


@pytest.mark.full
def test_quickstart_in_a_folder_with_a_blank_with_a_proxy_and_under_umask_077(checkout):
    # No request of ours goes there, and the package index is not reached by plain HTTP.
    checkout.environ["http_proxy"] = f"http://127.0.0.1:{free_port()}"
    close_to_others(checkout.home)
    if os.geteuid() == 0:
        refused = checkout.run_script("quickstart", umask=0o077)
        assert refused.returncode != 0
        assert refused.stderr.startswith("Not ready, nothing was started:")
        advice = re.search(r"chmod .*", refused.stderr)
        assert advice, refused.stderr
        subprocess.run(["/bin/sh", "-c", advice[0]], check=True)
    output = checkout.script("quickstart", "--ship", umask=0o077, seconds=500)
    assert "is merged, as release" in output
    page = checkout.get(checkout.config.web_port, "/")
    assert page.status_code == 200
    # The same again, over what was made under that umask.
    assert "is merged, as release" in checkout.script("quickstart", "--ship", umask=0o077)


@pytest.fixture
def application(tmp_path):
    """A repository with a static site on the branch master."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "index.html").write_text("<h1>of master</h1>")
    run_git("init", "-q", "-b", "master", cwd=work)
    run_git("add", "-A", cwd=work)
    run_git("commit", "-q", "-m", "a site", cwd=work)
    run_git("commit", "-q", "--allow-empty", "-m", "another", cwd=work)
    return work


@pytest.mark.full
def test_quickstart_says_what_to_do_about_the_remote_before_it_starts(checkout, application):
    folder = application.parent
    remotes = {name: folder / f"{name}.git" for name in ("master", "empty", "shallow")}
    run_git("clone", "-q", "--bare", application, remotes["master"], cwd=folder)
    run_git("init", "-q", "--bare", "-b", "main", remotes["empty"], cwd=folder)
    url = f"file://{application}"
    run_git("clone", "-q", "--bare", "--depth", "1", url, remotes["shallow"], cwd=folder)
    checkout.environ["GIT_LOCAL_ROOTS"] = str(folder)
    advice = {
        "master": "set MERGE_GATE_GIT_PUSH_BRANCH=master",
        "empty": "push a first commit to it",
        "shallow": "git fetch --unshallow",
    }
    for name, text in advice.items():
        if name == "shallow":
            checkout.environ["MERGE_GATE_GIT_PUSH_BRANCH"] = "master"
        checkout.environ["GIT_REMOTE_URL"] = str(remotes[name])
        refused = checkout.run_script("quickstart")
        assert refused.returncode != 0
        assert refused.stderr.startswith("Not ready, nothing was started:"), refused.stderr
        assert text in refused.stderr
        assert not (checkout.home / ".venv").exists() and not checkout.config.var.exists()
    # What it says makes it work.
    checkout.environ["GIT_REMOTE_URL"] = str(remotes["master"])
    checkout.script("quickstart", seconds=500)
    assert checkout.get(checkout.config.web_port, "/").text == "<h1>of master</h1>"
