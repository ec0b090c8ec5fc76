"""Programs start alike, whatever the process that starts them has inherited or set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.root
def test_a_program_of_another_user_has_no_priority_of_its_starters(tmp_path):
    user = f"__import__('host.process.users').process.users.User({os.getuid() + 64000}, 64000)"
    settings = "; ".join([*SETTINGS.values(), *AS_ROOT.values()])
    assert start(tmp_path, settings, user) == start(tmp_path, "", user)
    assert start(tmp_path, settings, user)["nice"] == 0
