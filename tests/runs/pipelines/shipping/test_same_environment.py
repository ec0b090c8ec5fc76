"""The merge gate starts a release in the surroundings that production has, seen by the release."""

import json

from releases.models import Deployment, Release
from releases.production import app_instance
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.runs.pipelines.shipping import tiny

# What a process can learn about how it was started.
FACTS = """\
import json, locale, os, stat, sys, time

status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
home = os.stat(os.environ["HOME"])
names = "Uid Gid Groups Umask SigBlk SigIgn NoNewPrivs CapInh CapPrm CapEff CapBnd CapAmb Seccomp"
facts = {
    "environment": dict(os.environ),
    "status": {name: status[name].split() for name in names.split()},
    "command": [sys.executable, *sys.orig_argv],
    "folder": os.getcwd(),
    "limits": open("/proc/self/limits").read().splitlines(),
    "priority": [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)],
    "processors": sorted(os.sched_getaffinity(0)),
    "memory": [open("/proc/self/oom_score_adj").read()],
    "groups": [os.getpid() == os.getsid(0), os.getpid() == os.getpgid(0)],
    "files": [stat.S_IFMT(os.fstat(int(fd)).st_mode) for fd in os.listdir("/proc/self/fd")[:-1]],
    "input": os.readlink("/proc/self/fd/0"),
    "locale": [locale.getlocale(), sys.getfilesystemencoding(), time.tzname],
    "mounts": sorted(line.split()[4] for line in open("/proc/self/mountinfo")),
    "shared": sorted(os.listdir("/tmp")),
    "tree": sorted(os.listdir(".")),
    "home": sorted(os.listdir(os.environ["HOME"])),
    "home's owner and mode": [home.st_uid, home.st_gid, home.st_mode],
}
print("FACTS", json.dumps(facts), flush=True)
"""
# The instance's own values, and the mark by which its processes are found.
OF_THE_INSTANCE = {
    "PORT", "DATABASE_URL", "PGUSER", "PGPASSWORD", "PGDATABASE", "HOME", "TMPDIR", "OROBOROS_JOB",
}  # fmt: skip


def read_facts(log):
    """Return what the last start wrote to its log."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("FACTS ")]
    return json.loads(lines[-1].removeprefix("FACTS "))


def test_a_release_sees_the_same_in_the_gate_and_in_production(small, ready_small):
    run = ready_small("same/environment", {"server.py": FACTS + tiny.SERVER})
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run = Run.objects.get(pk=run.pk)
    assert run.status == "merged", run.failure_detail
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    gate, production = (
        read_facts(app_instance.log_path(small.config, name)) for name in ("gate", live.colour)
    )
    ours, theirs = gate.pop("environment"), production.pop("environment")
    assert ours.keys() == theirs.keys()
    assert {name for name in ours if ours[name] != theirs[name]} == OF_THE_INSTANCE
    assert gate == production
    small.commit("main", tiny.files(small.folder))
