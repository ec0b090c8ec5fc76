"""The folder, the remote, the network and the shell are checked before anything is started."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from host import config as configuration
from host.units.unit_files import find_hidden_folder
from ops import env_files, systemd
from ops.preconditions.checkout_path import find_path_problems, find_unit_path_problems
from ops.preconditions.proxies import find_proxy, find_proxy_problems
from ops.preconditions.shell_settings import describe_shell_settings, find_differing
from tests.environment import free_offset

INDEX = "https://index.example.net/simple"


@pytest.mark.parametrize(
    "path", ["/srv/oroboros", "/srv/my apps/oro boros", "/srv/é 日本/o'ro (2) & co, 100%~@=!;+"]
)
def test_a_usual_path_is_no_problem(path):
    assert list(find_path_problems(Path(path))) == []


@pytest.mark.parametrize(
    "sign", ["$", '"', "\\", "`", ":", "{", "[", "*", "#", "\n", "\t", "\udcff"]
)
def test_a_path_that_programs_cannot_read_is_a_problem_that_names_the_sign(sign):
    [problem] = find_path_problems(Path(f"/srv/a{sign}b"))
    assert "clone into a folder" in problem
    assert problem.isprintable()


def test_a_very_long_path_is_a_problem():
    [problem] = find_path_problems(Path("/srv/" + "department/" * 60))
    assert "longer than 400 bytes" in problem


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None),
        ({"http_proxy": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1"}, ("HTTPS_PROXY", "http://p:1")),
        ({"https_proxy": "p:1", "HTTPS_PROXY": "q:2"}, ("https_proxy", "p:1")),
        ({"all_proxy": "socks5://p:1"}, ("all_proxy", "socks5://p:1")),
        ({"https_proxy": "p:1", "no_proxy": "example.com, .example.net"}, None),
        ({"https_proxy": "p:1", "NO_PROXY": "*"}, None),
        ({"https_proxy": "p:1", "no_proxy": "i.org"}, ("https_proxy", "p:1")),
    ],
)
def test_the_proxy_of_the_index_is_found(environ, found):
    assert find_proxy(environ, INDEX) == found


def test_a_proxy_that_refuses_connections_is_a_problem_without_its_password():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        port = closed.getsockname()[1]
        environ = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{port}"}
        [problem] = find_proxy_problems(environ)
    assert f"HTTPS_PROXY names the proxy 127.0.0.1:{port}" in problem
    assert "hunter2" not in problem
    # The default index may be one of these names.
    assert list(find_proxy_problems({**environ, "no_proxy": "localhost"})) == []
    [problem] = find_proxy_problems({"all_proxy": "http://[bad"})
    assert "not the address of a proxy" in problem


def test_a_proxy_that_answers_is_no_problem():
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        environ = {"https_proxy": f"127.0.0.1:{proxy.getsockname()[1]}"}
        assert list(find_proxy_problems(environ)) == []


def test_only_settings_that_differ_from_the_files_are_found():
    stored = {"A": "1", "B": "1"}
    assert find_differing(["A", "B", "C", "D"], {"A": "1", "B": "2", "C": "3"}, stored) == [
        "B",
        "C",
    ]


def write_env_files(tmp_path, api="OROBOROS_SLOTS=3\n", worker="GIT_REMOTE_URL=/a b\n"):
    config = configuration.load({"OROBOROS_VAR": str(tmp_path / "var")})
    config.env_dir.mkdir(parents=True)
    (config.env_dir / "api.env").write_text(api)
    (config.env_dir / "worker.env").write_text(worker)
    return config


def test_settings_of_the_shell_are_described_without_their_values(tmp_path):
    config = write_env_files(tmp_path)
    environ = {"OROBOROS_SLOTS": "2", "DEPLOY_HEALTH_SECONDS": "77", "GIT_REMOTE_URL": "/a b"}
    sentence = describe_shell_settings(config, {**environ, "OROBOROS_VAR": "/x", "GIT_X": "y"})
    assert sentence.startswith("OROBOROS_SLOTS, DEPLOY_HEALTH_SECONDS: the shell's value")
    assert "77" not in sentence


def test_a_corrected_setting_of_the_shell_is_kept_and_reported(tmp_path):
    worker = (
        '# mine\nGIT_REMOTE_URL=/a\nMERGE_GATE_GIT_PUSH_BRANCH="ma\nin"\nPREVIEW_TTL_SECONDS=7\n'
    )
    write_env_files(tmp_path, worker=worker)
    values = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_SLOTS": "2"}
    values |= {"GIT_REMOTE_URL": "/a", "MERGE_GATE_GIT_PUSH_BRANCH": "master"}
    config = configuration.load(values)
    sentences = env_files.keep_shell_settings(config)
    path = config.env_dir / "worker.env"
    assert path.read_text() == (
        "# mine\nGIT_REMOTE_URL=/a\nMERGE_GATE_GIT_PUSH_BRANCH=master\nPREVIEW_TTL_SECONDS=7\n"
    )
    assert configuration.read_env_file(config.env_dir / "api.env") == {"OROBOROS_SLOTS": "2"}
    assert [sentence.split()[0] for sentence in sentences] == [
        "MERGE_GATE_GIT_PUSH_BRANCH", "OROBOROS_SLOTS",
    ]  # fmt: skip
    assert env_files.keep_shell_settings(config) == []


def run_git(*arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *identity, *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def remotes(tmp_path_factory):
    """A folder with the remotes master.git, empty.git, shallow.git and partial.git."""
    folder = tmp_path_factory.mktemp("remotes")
    run_git("init", "-b", "master", folder / "work")
    for message in ("one", "two"):
        run_git("-C", folder / "work", "commit", "--allow-empty", "-m", message)
    run_git("clone", "--bare", folder / "work", folder / "master.git")
    run_git("init", "--bare", "-b", "main", folder / "empty.git")
    run_git("-C", folder / "work", "branch", "main")
    shallow = ["clone", "--bare", "--depth", "1", "--no-single-branch"]
    run_git(*shallow, f"file://{folder}/work", folder / "shallow.git")
    run_git("-C", folder / "work", "config", "uploadpack.allowFilter", "true")
    partial = ["clone", "--bare", "--filter=blob:none"]
    run_git(*partial, f"file://{folder}/work", folder / "partial.git")
    return folder


def run_preflight(tmp_path, **environ):
    env = {"PATH": os.environ["PATH"], "OROBOROS_VAR": str(tmp_path / "var"), **environ}
    done = subprocess.run(
        [sys.executable, "-m", "ops", "preflight"],
        cwd=configuration.HOME,
        env={"OROBOROS_PORT_OFFSET": str(free_offset()), **env},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "var").exists()
    return done.stderr


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("master", "set MERGE_GATE_GIT_PUSH_BRANCH=master"),
        ("empty", "push a first commit to it"),
        ("shallow", "git fetch --unshallow"),
        ("absent", "does not appear to be a git repository.* git clone --bare"),
        ("partial", r"is a partial clone \(--filter\)"),
    ],
)
def test_a_remote_that_cannot_be_used_is_refused_before_anything_starts(
    remotes, tmp_path, name, advice
):
    url = str(remotes / f"{name}.git")
    error = run_preflight(tmp_path, GIT_REMOTE_URL=url, GIT_LOCAL_ROOTS=str(remotes))
    assert error.startswith("Not ready, nothing was started:")
    assert url in error
    assert re.search(advice, error, re.DOTALL)


def test_a_password_in_the_remotes_address_is_not_printed(tmp_path):
    error = run_preflight(tmp_path, GIT_REMOTE_URL="https://ada:s3cr3t@git.invalid/app.git")
    assert "GIT_REMOTE_URL https://git.invalid/app.git: The git remote must hold no" in error
    assert "s3cr3t" not in error


def test_the_branch_that_the_refusal_names_is_accepted(remotes, tmp_path):
    url = str(remotes / "master.git")
    error = run_preflight(
        tmp_path,
        GIT_REMOTE_URL=url,
        GIT_LOCAL_ROOTS=str(remotes),
        MERGE_GATE_GIT_PUSH_BRANCH="master",
    )
    assert url not in error


@pytest.mark.parametrize(
    ("path", "named"), [("/srv/my apps/o", "a blank"), ("/srv/100%/o", "'%'"), ("/srv/o'x", "'''")]
)
def test_a_path_that_unit_files_cannot_hold_is_refused_there_only(path, named):
    [problem] = find_unit_path_problems(Path(path))
    assert f"has {named}, which unit files cannot hold" in problem
    assert "such as /srv/oroboros" in problem
    assert list(find_path_problems(Path(path))) == []
    assert list(find_unit_path_problems(Path("/srv/oroboros"))) == []


@pytest.mark.parametrize("folder", ["/home", "/root", "/run/user", "/tmp", "/var/tmp"])
def test_a_path_that_units_do_not_see_is_refused_there_only(folder):
    path = Path(folder, "ada", "oroboros")
    [problem] = find_unit_path_problems(path)
    assert f"The path {path} is below {folder}, which the units do not see" in problem
    assert list(find_path_problems(path)) == []


def test_what_a_path_leads_to_counts_and_a_name_that_only_begins_alike_does_not():
    assert find_hidden_folder(Path("/proc/self/root/home/ada")) == Path("/home")
    assert find_hidden_folder(Path("/home")) == Path("/home")
    assert find_hidden_folder(Path("/homes/oroboros")) is None


@pytest.mark.root
def test_the_installation_of_units_names_the_path_with_its_other_problems(tmp_path):
    config = configuration.load({"OROBOROS_VAR": str(tmp_path / "my var")})
    problems = "\n".join(systemd.find_problems(config))
    assert f"The path {tmp_path}/my var has a blank" in problems
