"""A copy of the checkout in another folder, started by its own scripts as an operator would."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil
import requests

from host import config as configuration
from host.deadline import wait_until
from host.files import ownership
from host.units import managers
from tests.environment import free_offset
from tests.slot_leftovers import assert_nothing_is_left

TEST_VARIABLES = (
    "OROBOROS_",
    "PREVIEW_",
    "SECRET_KEY",
    "DATABASE_URL",
    "DJANGO_",
    "PYTEST_",
    "VIRTUAL_ENV",
)
QUEUE_PROCESS_NAME = "queue"  # see runs.lifecycle.supervisor
END_STATUSES = ("preview_ready", "merged", "failed", "rejected", "canceled", "expired")


def wait_for(condition, seconds=180, why=""):
    """Return the result of `condition` once it is true; fail with `why` after `seconds`."""
    result = wait_until(condition, seconds=seconds)
    assert result, f"not within {seconds} s: {why or condition}"
    return result


class Host:
    """The copy of the checkout, its scripts and its ports."""

    def __init__(self, name="oroboros-system-"):
        self.home = Path(tempfile.mkdtemp(prefix=name))
        self.home.chmod(0o755)
        tracked = ["git", "-c", "safe.directory=*"]  # it may be the checkout of another user
        tracked += ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(tracked, cwd=configuration.HOME, capture_output=True, check=True)
        for name in filter(None, names.stdout.decode().split("\0")):
            source, target = configuration.HOME / name, self.home / name
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        # As an operator's shell: how to reach the package registries, no variables of the tests.
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(TEST_VARIABLES)}
        # Other users can execute the Python that runs the tests.
        self.environ["OROBOROS_PYTHON"] = os.path.realpath(sys.executable)
        self.environ["OROBOROS_PORT_OFFSET"] = str(free_offset())
        # A browser for each preview would slow down what these tests wait for.
        self.environ["PREVIEW_SCREENSHOTS"] = "off"
        values = {**self.environ, "OROBOROS_VAR": str(self.home / "var")}
        self.config = configuration.load(values, home=self.home)

    def script(self, name, *arguments, code=0, seconds=300, umask=-1):
        """Run a script and return its stdout. Fails if the exit code is not `code`."""
        done = self.run_script(name, *arguments, seconds=seconds, umask=umask)
        assert done.returncode == code, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run_script(self, name, *arguments, seconds=300, umask=-1):
        """Run a script, with the umask unless it is -1, and return how it ended."""
        return subprocess.run(
            [f"scripts/{name}.sh", *arguments],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=seconds,
            umask=umask,
        )

    def manage(self, *arguments):
        """Run a manage.py command and return its stdout."""
        done = subprocess.run(
            [".venv/bin/python", "manage.py", *arguments],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, port, path="/health", **options):
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=60, **options)

    def api(self, path, body=None):
        """Send a GET, or a POST if there is a body, as the operator of this host."""
        url = f"http://127.0.0.1:{self.config.api_port}{path}"
        if body is None:
            return requests.get(url, timeout=60)
        return requests.post(url, json=body, timeout=120)

    def run(self, run_id):
        return self.api(f"/api/runs/{run_id}").json()

    def start_run(self, branch):
        """Create a run of the branch, beside those that it has, and return its id."""
        body = {"branch": branch, "title": branch, "another": True}
        answer = self.api("/api/runs", body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def wait_until_settled(self, run_id, seconds=240):
        """Wait until the run's preview is ready or the run has ended; return the run."""
        return wait_for(
            lambda: (run := self.run(run_id))["status"] in END_STATUSES and run,
            seconds,
            f"run {run_id}: {self.run(run_id)}",
        )

    def approve(self, run):
        answer = self.api(f"/api/runs/{run['id']}/approve", {"commit_sha": run["commit_sha"]})
        assert answer.status_code == 200, answer.text

    def wait_until_ended(self, run_id, seconds=240):
        """Wait until an approved run has ended; return it."""
        return wait_for(
            lambda: (run := self.run(run_id))["ended_at"] and run, seconds, f"run {run_id}"
        )

    def slot(self, number=1):
        return self.api("/api/slots").json()[number - 1]

    def is_free(self, number=1):
        """Wait until the slot is free, and return whether its idle page answers.

        As root nothing else of its user may be left.
        """
        slot = self.config.slots[number - 1]
        wait_for(lambda: self.slot(number)["state"] == "free", 120, str(self.slot(number)))
        assert_nothing_is_left(self.config, slot)
        idle = self.get(slot.backend_port).json()
        return idle == {"status": "idle", "slot_id": slot.slot_id}

    def remote_main(self):
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", "rev-parse", "main"],
            cwd=self.home / "var" / "demo" / "guestbook.git",
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def columns(self, database, table="entries"):
        """Return the names of the table's columns, read as the embedded server's superuser."""
        import psycopg

        from ops import stack

        with psycopg.connect(stack.get_cluster(self.config).url(database)) as connection:
            rows = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]
            ).fetchall()
        return {name for (name,) in rows}

    def unit(self, name):
        """Return the process of a unit."""
        status = managers.get_manager(self.config).status(name)
        assert status.pid, f"{name} does not run"
        return psutil.Process(status.pid)

    def kill_worker(self):
        """Kill the worker with SIGKILL, and wait until it and its queue have ended."""
        process = self.unit("ouroboros-worker")
        queue = [one for one in process.children(recursive=True) if is_queue_process(one)]
        assert len(queue) > 2, "the queue's processes"
        process.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([process, *queue], timeout=60)
        assert not alive, alive

    def processes(self):
        """Return pid and command line of every process that runs from the copy."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            command = " ".join(process.info["cmdline"] or [])
            if str(self.home) in command or str(process.info["cwd"]).startswith(str(self.home)):
                found.append((process.pid, command))
        return found

    def close(self):
        if (self.home / ".venv").exists():
            self.script("runtime-down")
        wait_for(lambda: not self.processes(), 60, str(self.processes()))
        ownership.delete_tree(self.home)  # installs are read-only


def is_queue_process(process):
    """Return whether the process is one of the queue's: they are named so when they are forked."""
    with suppress(psutil.Error):
        return process.name() == QUEUE_PROCESS_NAME
    return False
