"""An application whose processes are killed while they start, as by the kernel without memory."""

import pytest

from runs.lifecycle import execution, operations
from runs.models import Run
from tests.runs.pipelines.shipping import tiny

# It counts in its home: the preview, the gate and production have each one of their own.
DIE = """
import os, pathlib, signal

def die():
    starts = pathlib.Path(os.environ["HOME"], "starts")
    starts.touch()
    if starts.stat().st_size < {times}:
        with starts.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
"""
ACCEPTED = "    link.settimeout"
SERVERS = {
    "before it listens": f"die()\n{tiny.SERVER}",
    "at its first request": tiny.SERVER.replace(ACCEPTED, f"    die()\n{ACCEPTED}"),
    "beside the server": tiny.SERVER,
}
WORKER = "die()\nimport time\ntime.sleep(3600)\n"


def files(place, times):
    die = DIE.format(times=times)
    made = {"server.py": f"{die}\n{SERVERS[place]}", "Procfile": "web: python server.py\n"}
    if place == "beside the server":
        made |= {"work.py": f"{die}\n{WORKER}"}
        made["Procfile"] += "worker: python work.py\n"
    return made


@pytest.fixture
def kept_main(small):
    """The remote's main, which is as before when the test has ended."""
    before = small.remote_main()
    yield
    small.git("push", "-q", str(small.remote), f"{before}:main", "--force", cwd=small.clone)


@pytest.mark.parametrize("place", SERVERS)
def test_a_process_that_is_killed_once_fails_neither_preview_nor_gate_nor_deployment(
    kept_main, ships, place
):
    run = ships("killed/once", files(place, 1))
    assert (run.status, run.failure_code) == ("merged", ""), run.failure_detail


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("before it listens", "BACKEND_UNHEALTHY"),
        ("at its first request", "BACKEND_UNHEALTHY"),
        ("beside the server", "PROCESS_DIED"),
    ],
)
def test_a_process_that_is_killed_at_each_start_fails_the_run_with_the_signal(small, place, code):
    branch = f"killed/{small.commits()}"
    small.commit(branch, files(place, 100))
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.failure_code) == ("failed", code)
    assert "ended with signal 9 (SIGKILL: the system sends it" in run.failure_detail
