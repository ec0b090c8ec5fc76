"""Commands as another user."""

import os
import pwd
import resource
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from host import config as configuration
from host.process import process_table, runner, users
from host.process.users import Limits, User
from tests.host.processes import (
    ENV,
    RESERVED_USER,
    ROOT,
    run,
    wait_for,
)

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.root
def test_a_command_runs_with_the_users_ids_and_no_new_privileges(log):
    run("id -u; id -g; id -G; grep NoNewPrivs /proc/self/status", log, user=RESERVED_USER)
    assert log.read_text().split() == [str(RESERVED_USER.uid)] * 3 + ["NoNewPrivs:", "1"]


@pytest.mark.root
def test_a_command_of_another_user_gets_its_environment_and_a_mark_only(log):
    env = {**ENV, "a-b": "c=d"}
    runner.run(["env"], cwd=ROOT, log=log, timeout=60, env=env, user=RESERVED_USER)
    names = {line.partition("=")[0] for line in log.read_text().splitlines()}
    assert names == {"PATH", "a-b", "OROBOROS_JOB"}


@pytest.mark.root
def test_a_command_of_another_user_runs_in_cwd(open_path, log):
    (open_path / "a b").mkdir()
    run("pwd", log, cwd=open_path / "a b", user=RESERVED_USER)
    assert log.read_text().strip() == str(open_path / "a b")


@pytest.mark.root
@pytest.mark.parametrize("path", ["closed/inner", "link"])
def test_a_folder_below_one_that_is_closed_to_the_user_is_not_entered(open_path, log, path):
    (open_path / "closed" / "inner").mkdir(parents=True)
    (open_path / "closed").chmod(0o700)
    (open_path / "closed" / "inner").chmod(0o777)
    (open_path / "link").symlink_to("closed/inner")
    cwd = open_path / path
    assert run("touch here", log, cwd=cwd, user=RESERVED_USER).exit_code == 125
    assert "cannot change directory" in log.read_text()
    assert str(cwd) in log.read_text()
    assert list((open_path / "closed" / "inner").iterdir()) == []


@pytest.mark.root
def test_a_program_whose_path_looks_like_a_variable_is_started(open_path, log):
    program = open_path / "a=b"
    program.write_text('#!/bin/sh\necho "$0 $1"\n')
    program.chmod(0o755)
    argv = [str(program), "id"]
    assert (
        runner.run(argv, cwd=ROOT, log=log, timeout=60, env=ENV, user=RESERVED_USER).exit_code == 0
    )
    assert log.read_text() == f"{program} id\n"


@pytest.mark.root
def test_the_log_of_another_users_command_stays_ours(log):
    run("echo said", log, user=RESERVED_USER)
    assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (0, 0o640)
    assert log.read_text() == "said\n"


def list_with_zombies(uid):
    """Return the pids that count against the limit of the user: also zombies."""
    found = []
    for pid in process_table.list_pids():
        with suppress(FileNotFoundError):
            if Path(f"/proc/{pid}").stat().st_uid == uid:
                found.append(pid)
    return found


# A uid of its own: what tests of other files start as RESERVED_USER would count.
LIMITED = User(61_992, 61_992, limits=Limits(processes=20, files=100, file_bytes=1000))


@pytest.mark.root
def test_a_user_with_limits_has_no_more_processes_files_and_bytes(log):
    script = (
        "ulimit -Hn; ulimit -Hc; cat /proc/self/oom_score_adj; head -c 5000 /dev/zero > big;"
        " wc -c < big; for n in $(seq 60); do sleep 30 & done; echo all started"
    )
    folder = Path(tempfile.mkdtemp(prefix="oroboros-limits-"))
    folder.chmod(0o777)
    wait_for(lambda: not list_with_zombies(LIMITED.uid))
    try:
        run(script, log, cwd=folder, user=LIMITED)
    finally:
        shutil.rmtree(folder)
    said = log.read_text()
    words = said.split()
    assert words[:3] == ["100", "0", "500"]
    assert "1000" in words
    assert "fork" in said  # the shell's message
    assert LIMITED.pids() == set()


@pytest.mark.root
def test_the_users_of_slots_and_jobs_have_limits_and_production_has_none():
    config = configuration.load({"PREVIEW_PROCESSES": "77"})
    limited = [*map(config.slot_user, config.slots), config.job_user, config.install_user]
    assert [user.limits.processes for user in limited] == [77] * 5
    assert config.app_user.limits is None and config.postgres_user.limits is None


# --- the words before argv, as any user

SWITCH = "--reuid 61990 --regid 61991 --clear-groups --no-new-privs"
OTHER = User(61_990, 61_991)


@pytest.mark.parametrize(
    ("user", "die_with_parent", "words"),
    [
        (None, False, ""),
        (None, True, "--pdeathsig KILL --"),
        (OTHER, False, f"{SWITCH} --"),
        # Last: the kernel clears the signal when the user changes.
        (OTHER, True, f"{SWITCH} --pdeathsig KILL --"),
    ],
)
def test_a_user_is_changed_without_groups_and_without_new_privileges(user, die_with_parent, words):
    argv = users.setpriv_argv(user, die_with_parent=die_with_parent)
    assert argv == ([users.SETPRIV, *words.split()] if words else [])


@pytest.mark.parametrize(
    ("hard", "files"), [(99, 99), (100, 100), (101, 100), (resource.RLIM_INFINITY, 100)]
)
def test_a_limit_is_the_users_or_our_own_if_that_is_lower(monkeypatch, hard, files):
    monkeypatch.setattr(resource, "getrlimit", lambda number: (0, hard))
    limits = Limits(processes=1, files=100, data_bytes=2, file_bytes=3, oom_score=4)
    assert users.limits_argv(replace(OTHER, limits=limits)) == [
        users.PRLIMIT,
        "--nproc=1",
        f"--nofile={files}",
        "--data=2",
        "--fsize=3",
        "--core=0",
        "--",
        users.CHOOM,
        "--adjust=4",
        "--",
    ]


def test_a_user_without_limits_has_no_words_for_them():
    assert users.limits_argv(OTHER) == users.limits_argv(None) == []


@pytest.mark.parametrize(
    ("program", "user", "signals", "words"),
    [
        ("run", None, [], []),
        ("run", None, ["--default-signal=INT"], [users.ENV, "--default-signal=INT", "--"]),
        ("run", OTHER, [], [users.ENV, "--chdir=/a b", "--"]),
        (
            "a=b",
            OTHER,
            [],
            [users.ENV, "--chdir=/a b", "--", users.SETPRIV, "--no-new-privs", "--"],
        ),
        ("a=b", None, [], []),
    ],
)
def test_a_folder_is_entered_with_the_rights_of_the_user(
    monkeypatch, program, user, signals, words
):
    monkeypatch.setattr(users, "signal_options", lambda: list(signals))
    assert users.env_argv(program, Path("/a b"), user) == words


def test_the_group_of_a_command_is_its_users():
    assert (users.get_gid(None), users.get_gid(OTHER)) == (None, 61_991)


def test_nobody_has_the_numbers_of_the_user_database():
    entry = pwd.getpwnam("nobody")
    found = users.find_nobody()
    assert (found.uid, found.gid) == (entry.pw_uid, entry.pw_gid)
    assert found.uid != 0


def test_a_user_knows_its_own_processes():
    assert os.getpid() in User(os.getuid(), os.getgid()).pids()
    assert User(61_977, 61_977).pids() == set()
