"""Programs start alike, whatever the process that starts them has inherited or set."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from host.process import inherited_state

ROOT = Path(__file__).parents[3]
# Prints what it inherited.
PROGRAM = """
import json, os, resource, signal
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
names = ("AS", "CPU", "DATA", "FSIZE", "NPROC", "NOFILE")
print(json.dumps({
    "umask": status["Umask"].strip(), "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "hangup": signal.getsignal(signal.SIGHUP) is signal.SIG_DFL,
    "limits": {n: resource.getrlimit(getattr(resource, "RLIMIT_" + n)) for n in names},
}))
"""
# An operator's shell, or a worker, that starts it.
STARTER = """
import os, resource, signal, sys
from pathlib import Path
from host.process import runner
exec(sys.argv[1])
env = {"PATH": os.defpath}
log = Path(sys.argv[2])
user = eval(sys.argv[4])
argv = ["/usr/bin/python3", "-I", "-c", sys.argv[3]]
outcome = runner.run(argv, cwd=Path("/"), log=log, timeout=120, env=env, user=user)
assert outcome.exit_code == 0, log.read_text()
"""


def start(tmp_path, setting, user="None"):
    """Return what a program sees whose starter has executed `setting` first."""
    log = tmp_path / f"{len(list(tmp_path.iterdir()))}.log"
    argv = [sys.executable, "-c", STARTER, setting, str(log), PROGRAM, user]
    subprocess.run(argv, check=True, cwd=ROOT, timeout=180)
    return json.loads(log.read_text().splitlines()[-1])


SETTINGS = {
    "umask": "os.umask(0o077)",
    "interrupt": "signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "nohup": "signal.signal(signal.SIGHUP, signal.SIG_IGN)",
    "files": "resource.setrlimit(resource.RLIMIT_NOFILE, "
    "(200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))",
    "size": "resource.setrlimit(resource.RLIMIT_FSIZE, "
    "(10**6, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))",
}
AS_ROOT = {"nice": "os.nice(7)"}


def test_a_program_inherits_nothing_of_its_starters_settings(tmp_path):
    assert start(tmp_path, "; ".join(SETTINGS.values())) == start(tmp_path, "")


def test_a_program_has_a_umask_an_interrupt_and_many_files(tmp_path):
    seen = start(tmp_path, "; ".join(SETTINGS.values()))
    assert (seen["umask"], seen["interrupt"], seen["hangup"]) == ("0022", True, True)
    soft, hard = seen["limits"]["NOFILE"]
    assert soft == (65536 if hard == -1 else min(hard, 65536))


@pytest.mark.parametrize(
    ("name", "soft", "wanted"), [("NOFILE", 200, 65536), ("FSIZE", 10**9, None)]
)
def test_a_soft_limit_is_raised_to_what_programs_get_anywhere(name, soft, wanted):
    number = getattr(resource, f"RLIMIT_{name}")
    before, hard = resource.getrlimit(number)
    most = "unlimited" if hard == resource.RLIM_INFINITY else str(hard)
    raised = most if wanted is None or 0 <= hard < wanted else str(wanted)
    resource.setrlimit(number, (soft, hard))
    try:
        found = dict(inherited_state._find_limits())
    finally:
        resource.setrlimit(number, (before, hard))
    assert found[name.lower()] == f"{raised}:{most}"


@pytest.mark.parametrize(
    ("hard", "wanted"),
    [
        (65535, "65535:65535"),
        (65536, "65536:65536"),
        (65537, "65536:65537"),
        (resource.RLIM_INFINITY, "65536:unlimited"),
    ],
)
def test_files_are_limited_to_what_the_units_have_or_to_less(monkeypatch, hard, wanted):
    monkeypatch.setattr(resource, "getrlimit", lambda number: (1024, hard))
    assert dict(inherited_state._find_limits())["nofile"] == wanted
    monkeypatch.setattr(resource, "getrlimit", lambda number: (65536, 65536))
    assert "nofile" not in dict(inherited_state._find_limits())


@pytest.mark.root
@pytest.mark.parametrize(("priority", "words"), [(1, ["-n", "-1"]), (7, ["-n", "-7"]), (0, [])])
def test_a_priority_is_taken_back(priority, words):
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, priority)
    try:
        assert inherited_state.reset_argv(has_limits=True)[1:] == words
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


@pytest.mark.root
def test_a_program_of_another_user_has_no_priority_of_its_starters(tmp_path):
    user = f"__import__('host.process.users').process.users.User({os.getuid() + 64000}, 64000)"
    settings = "; ".join([*SETTINGS.values(), *AS_ROOT.values()])
    assert start(tmp_path, settings, user) == start(tmp_path, "", user)
    assert start(tmp_path, settings, user)["nice"] == 0
