"""A check that takes too long, with descendants that hold its output."""

from datetime import timedelta

import psutil
import pytest

from runs.lifecycle import execution, operations
from runs.models import Step
from slots.runtime import disk_usage

MARK = "a-grandchild-that-stays"
TOML = '[backend]\nhealth_path = "/"\n'
CHECKS = f'[checks]\nslow = {{ run = "python slow.py {MARK}", timeout = 2 }}\n'
# Two grandchildren keep the check's output open: one in its session, one in a session of its own.
SLOW = """\
import os, signal, time

print("BEGAN", flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for leave in (lambda: None, os.setsid):
    if os.fork() == 0:
        leave()
        if os.fork() > 0:
            os._exit(0)
        break
time.sleep(600)
"""


def stays():
    processes = psutil.process_iter(["cmdline"])
    return [one.pid for one in processes if MARK in (one.info["cmdline"] or [])]


@pytest.mark.alone
def test_a_check_above_its_limit_of_2_s_ends_and_leaves_no_process(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "Procfile").write_text("web: python -m http.server --bind 127.0.0.1 $PORT\n")
    (application / "oroboros.toml").write_text(TOML)
    place = host(application)
    run = place.preview("feature/slow", {"slow.py": SLOW, "oroboros.toml": TOML + CHECKS})
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_TIMEOUT")
    assert "BEGAN" in place.artifact(run, "checks_log")
    step = Step.objects.get(run=run, name="checks")
    assert timedelta(seconds=2) <= step.ended_at - step.started_at < timedelta(seconds=60)
    assert stays() == []


@pytest.mark.full
def test_a_build_that_uses_more_than_the_slots_disk_quota_ends(place, monkeypatch):
    monkeypatch.setattr(disk_usage, "CHECK_SECONDS", 0.1)
    monkeypatch.setitem(place.config.environ, "PREVIEW_DISK_MB", "8")
    build = '[frontend]\nbuild = ["sh", "fill.sh"]\noutput = "dist"\n'
    files = {
        "oroboros.toml": f'[backend]\nhealth_path = "/"\n{build}',
        "fill.sh": "head -c 30000000 /dev/zero > big\nsleep 600\n",
    }
    run = place.carry("feature/fill", files)
    assert (run.status, run.failure_code) == ("failed", "DISK_FULL")
    assert "uses more than 8 MB of disk space (PREVIEW_DISK_MB)" in run.failure_detail


@pytest.mark.full
@pytest.mark.parametrize("where", ["$HOME", "."])
def test_a_check_that_uses_more_than_the_disk_quota_ends(place, monkeypatch, where):
    monkeypatch.setattr(disk_usage, "CHECK_SECONDS", 0.1)
    files = {
        "oroboros.toml": '[backend]\nhealth_path = "/"\n[checks]\nfill = ["sh", "fill.sh"]\n',
        "fill.sh": f"head -c 30000000 /dev/zero > {where}/big\nsleep 600\n",
    }
    run = place.preview("feature/fill-check", files)
    monkeypatch.setitem(place.config.environ, "PREVIEW_DISK_MB", "8")
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "DISK_FULL")
    assert "uses more than 8 MB of disk space (PREVIEW_DISK_MB)" in run.failure_detail
