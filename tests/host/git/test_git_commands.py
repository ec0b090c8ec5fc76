"""The argv of git's commands, and git's environment."""

from pathlib import Path

import pytest

from host import config
from host.git import git_commands

SHA = "0123456789" * 4


def test_a_push_names_one_branch_and_is_not_forced():
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


def test_a_fetch_takes_all_branches_and_prunes_deleted_ones():
    argv = git_commands.fetch_argv(Path("/r"), "/remote")
    assert argv[-3:] == ["--", "/remote", "+refs/heads/*:refs/remotes/origin/*"]
    assert {"--prune", "--no-tags", "--no-recurse-submodules"} < set(argv)


def test_gits_environment_has_nothing_of_ours():
    conf = config.load({"PATH": "/bin", "GIT_SSH_COMMAND": "touch x", "SECRET_KEY": "s" * 40})
    env = git_commands.build_environment(conf, Path("/dev/null"))
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
def test_only_the_remotes_protocol_is_allowed(remote, protocol):
    env = git_commands.build_environment(config.load({}), Path("/dev/null"), remote)
    assert env["GIT_ALLOW_PROTOCOL"] == protocol


def test_ssh_accepts_known_hosts_and_uses_the_configured_key_only():
    conf = config.load({"GIT_SSH_KEY_FILE": "/k/id", "GIT_SSH_KNOWN_HOSTS_FILE": "/k/a b"})
    command = git_commands.ssh_command(conf)
    assert "-F /dev/null" in command
    assert "StrictHostKeyChecking=yes" in command
    assert "'UserKnownHostsFile=\"/k/a b\"'" in command
    assert "IdentitiesOnly=yes -i /k/id" in command


def test_git_gets_the_private_authority_that_is_set_for_all_tools():
    conf = config.load({"SSL_CERT_FILE": "/etc/ssl/all.pem", "https_proxy": "http://proxy:3128"})
    remote = "https://git.example.com/x.git"
    env = git_commands.build_environment(conf, Path("/dev/null"), remote)
    assert (env["GIT_SSL_CAINFO"], env["https_proxy"]) == ("/etc/ssl/all.pem", "http://proxy:3128")
