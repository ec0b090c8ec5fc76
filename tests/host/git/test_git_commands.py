"""The argv of git's commands, and git's environment."""

import os
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.git import git_commands

SHA = "0123456789" * 4
OTHER = "abcdef0123" * 4
BAD = "--upload-pack=touch"


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


TREES = f"{SHA} {OTHER}"
SAFE = "diff-tree -r --no-ext-diff --no-textconv --no-color --ignore-submodules=none"
FETCH = "fetch --quiet --prune --no-tags --no-recurse-submodules --no-write-fetch-head -- /remote"
EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ZERO = "0" * 40


@pytest.mark.parametrize(
    ("name", "arguments", "options", "words"),
    [
        ("fetch_argv", ["/remote"], {}, f"{FETCH} +refs/heads/*:refs/remotes/origin/*"),
        (
            "fetch_ref_argv",
            ["/remote", "heads/a/b"],
            {},
            f"{FETCH} +refs/heads/a/b:refs/oroboros/fetched/heads/a/b",
        ),
        (
            "push_argv",
            ["/remote", SHA, "main"],
            {},
            "push --porcelain --no-follow-tags --recurse-submodules=no"
            f" -- /remote {SHA}:refs/heads/main",
        ),
        (
            "remote_head_argv",
            ["/remote", "main"],
            {},
            "ls-remote --quiet -- /remote refs/heads/main",
        ),
        (
            "remote_refs_argv",
            ["/remote"],
            {},
            "ls-remote --quiet --symref -- /remote HEAD refs/heads/*",
        ),
        (
            "merge_argv",
            [SHA, OTHER],
            {},
            f"merge-tree --write-tree --name-only --no-messages -z {TREES}",
        ),
        (
            "attribute_files_argv",
            [SHA],
            {},
            f"diff-tree -r --raw -z --no-renames {EMPTY} {SHA} -- :(glob)**/.gitattributes",
        ),
        (
            "list_changes_argv",
            [SHA, OTHER],
            {"find_moves": True},
            f"{SAFE} --raw --numstat -z --no-abbrev --find-renames --find-copies {TREES} --",
        ),
        (
            "list_changes_argv",
            [SHA, OTHER, ["a"]],
            {"find_moves": False},
            f"{SAFE} --raw --numstat -z --no-abbrev --no-renames {TREES} -- a",
        ),
        (
            "patch_argv",
            [SHA, OTHER, ["a", "-b"]],
            {"find_moves": False},
            f"{SAFE} --patch --full-index --no-renames {TREES} -- a -b",
        ),
        (
            "patch_argv",
            [SHA, OTHER],
            {"find_moves": True},
            f"{SAFE} --patch --full-index --find-renames --find-copies {TREES} --",
        ),
        ("list_tree_argv", [SHA], {}, f"ls-tree -r -l -z --full-tree {SHA}"),
        ("read_blobs_argv", [], {}, "cat-file --batch"),
        ("check_attributes_argv", [["merge", "diff"]], {}, "check-attr --stdin -z merge diff"),
        ("blob_argv", [SHA], {}, f"cat-file blob {SHA}"),
        ("commit_argv", [OTHER, []], {}, f"commit-tree -F - {OTHER}"),
        ("commit_argv", [OTHER, [SHA, OTHER]], {}, f"commit-tree -F - -p {SHA} -p {OTHER} {OTHER}"),
        ("update_ref_argv", ["r", SHA, OTHER], {}, f"update-ref --no-deref r {SHA} {OTHER}"),
        ("update_ref_argv", ["r", SHA, None], {}, f"update-ref --no-deref r {SHA} {ZERO}"),
        ("update_ref_argv", ["r", None, SHA], {}, f"update-ref --no-deref -d r {SHA}"),
        ("update_ref_argv", ["r", None, None], {}, f"update-ref --no-deref -d r {ZERO}"),
    ],
)
def test_command_has_these_arguments(name, arguments, options, words):
    argv = getattr(git_commands, name)(Path("/r"), *arguments, **options)
    assert argv == ["git", "--git-dir=/r", *words.split(" ")]


def test_sizes_are_read_with_one_format():
    argv = git_commands.read_sizes_argv(Path("/r"))
    assert argv[2:] == ["cat-file", "--batch-check=%(objectname) %(objectsize)"]


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("fetch_ref_argv", ["/remote", BAD], {}),
        ("push_argv", ["/remote", BAD, "main"], {}),
        ("push_argv", ["/remote", SHA, BAD], {}),
        ("remote_head_argv", ["/remote", BAD], {}),
        ("merge_argv", [BAD, SHA], {}),
        ("merge_argv", [SHA, BAD], {}),
        ("attribute_files_argv", [BAD], {}),
        ("list_changes_argv", [BAD, SHA], {"find_moves": True}),
        ("patch_argv", [SHA, BAD], {"find_moves": True}),
        ("list_tree_argv", [BAD], {}),
        ("blob_argv", [BAD], {}),
        ("commit_argv", [BAD, []], {}),
        ("commit_argv", [SHA, [BAD]], {}),
    ],
)
def test_what_looks_like_an_option_is_no_commit_and_no_branch(name, arguments, options):
    with pytest.raises(Refused):
        getattr(git_commands, name)(Path("/r"), *arguments, **options)


NETWORK = {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "localhost", "GIT_SSL_CAINFO": "/ca.pem"}


@pytest.mark.parametrize(
    ("remote", "passed"), [("https://git.example/x", True), ("/srv/x.git", False), ("", False)]
)
def test_only_https_gets_the_proxy(remote, passed):
    env = git_commands.build_environment(config.load(NETWORK), Path("/dev/null"), remote)
    assert {name for name in NETWORK if name in env} == (set(NETWORK) if passed else set())


def test_gits_settings_run_no_program_but_the_reader_of_the_stored_password():
    conf = config.load({"GIT_CREDENTIALS_FILE": "/k/a b", "MERGE_GATE_GIT_PUSH_BRANCH": "trunk"})
    env = git_commands.build_environment(conf, Path("/g"))
    count = int(env["GIT_CONFIG_COUNT"])
    settings = {env[f"GIT_CONFIG_KEY_{n}"]: env[f"GIT_CONFIG_VALUE_{n}"] for n in range(count)}
    assert settings == {
        "core.hooksPath": "/dev/null",
        "core.fsmonitor": "false",
        "gc.auto": "0",
        "maintenance.auto": "false",
        "mailmap.blob": "refs/remotes/origin/trunk:.mailmap",
        "credential.helper": git_commands.credential_helper("/k/a b"),
    }
    rest = {name: text for name, text in env.items() if not name.startswith("GIT_CONFIG_")}
    assert rest == {
        "PATH": conf.get("PATH", os.defpath),
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes -o StrictHostKeyChecking=yes",
    }
    assert env["GIT_CONFIG_GLOBAL"] == "/g"


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
