"""A checkout of its own in a folder, brought up by its own scripts, as a person would."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import requests

from host import config as configuration
from host.units import managers
from tests.environment import free_port

OURS = ("OROBOROS_", "PREVIEW_", "SECRET_KEY", "DATABASE_URL", "DJANGO_", "PYTEST_", "VIRTUAL_ENV")
ENDS = ("preview_ready", "merged", "failed", "rejected", "canceled", "expired")


def wait_for(condition, seconds=90, why=""):
    """Return what `condition` returns once it is true; fail with `why` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {why or condition}")


def free_offset():
    """Return a port offset with which none of the stack's ports is taken now."""
    while True:
        offset = free_port() % 9000 + 1000
        config = configuration.load({"OROBOROS_PORT_OFFSET": str(offset)})
        ports = [config.api_port, config.worker_port, config.web_port, config.postgres_port]
        ports += [config.router_port, *config.colour_ports]
        ports += [port for slot in config.slots for port in (slot.web_port, slot.backend_port)]
        if not any(conn.laddr.port in ports for conn in psutil.net_connections("tcp")):
            return offset


class Host:
    """The checkout, what its scripts say, and what its ports answer."""

    def __init__(self):
        self.home = Path(tempfile.mkdtemp(prefix="oroboros-system-"))
        self.home.chmod(0o755)
        tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(tracked, cwd=configuration.HOME, capture_output=True, check=True)
        for name in filter(None, names.stdout.decode().split("\0")):
            source, place = configuration.HOME / name, self.home / name
            if source.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place)
        # What a person's shell has: how to reach the registries, nothing of these tests' own.
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        # Ours is what test.sh runs under, so other users can execute it.
        self.environ["OROBOROS_PYTHON"] = os.path.realpath(sys.executable)
        self.environ["OROBOROS_PORT_OFFSET"] = str(free_offset())
        values = {**self.environ, "OROBOROS_VAR": str(self.home / "var")}
        self.config = configuration.load(values, home=self.home)

    def script(self, name, *arguments, code=0, seconds=300):
        """Run one of its scripts; returns stdout. Fails with all it said on another exit code."""
        done = subprocess.run(
            [f"scripts/{name}.sh", *arguments],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        assert done.returncode == code, f"{name}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def manage(self, *arguments):
        """Run one of its manage.py commands; returns stdout."""
        done = subprocess.run(
            [".venv/bin/python", "manage.py", *arguments],
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def get(self, port, path="/health", **options):
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=20, **options)

    def api(self, path, body=None):
        """GET, or POST where there is a body, as the operator of this host."""
        url = f"http://127.0.0.1:{self.config.api_port}{path}"
        if body is None:
            return requests.get(url, timeout=20)
        return requests.post(url, json=body, timeout=40)

    def run(self, run_id):
        return self.api(f"/api/runs/{run_id}").json()

    def start_run(self, branch):
        """Make a run of a branch and return its id."""
        answer = self.api("/api/runs", {"branch": branch, "title": branch})
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def settled(self, run_id, seconds=120):
        """Wait until the run is ready, or has ended; returns it."""
        return wait_for(
            lambda: (run := self.run(run_id))["status"] in ENDS and run,
            seconds,
            f"run {run_id}: {self.run(run_id)}",
        )

    def approve(self, run):
        answer = self.api(f"/api/runs/{run['id']}/approve", {"commit_sha": run["commit_sha"]})
        assert answer.status_code == 200, answer.text

    def ended(self, run_id, seconds=120):
        """Wait until an approved run has ended; returns it."""
        return wait_for(
            lambda: (run := self.run(run_id))["ended_at"] and run, seconds, f"run {run_id}"
        )

    def slot(self, number=1):
        return self.api("/api/slots").json()[number - 1]

    def is_free(self, number=1):
        """Wait until the slot is free again and its idle responder answers."""
        place = self.config.slots[number - 1]
        wait_for(lambda: self.slot(number)["state"] == "free", 30, str(self.slot(number)))
        idle = self.get(place.backend_port).json()
        return idle == {"status": "idle", "slot_id": place.slot_id}

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
        """Return the table's columns, read as the superuser of the embedded cluster."""
        import psycopg

        from ops import stack

        with psycopg.connect(stack.cluster(self.config).url(database)) as connection:
            rows = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]
            ).fetchall()
        return {name for (name,) in rows}

    def unit(self, name):
        """Return the process that a unit runs as."""
        status = managers.manager(self.config).status(name)
        assert status.pid, f"{name} does not run"
        return psutil.Process(status.pid)

    def kill_worker(self):
        """SIGKILL the worker; returns once all of it is gone."""
        process = self.unit("ouroboros-worker")
        queue = [one for one in process.children(recursive=True) if "run_queue" in words(one)]
        assert len(queue) > 2, "the queue's processes"
        process.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs([process, *queue], timeout=10)
        assert not left, left

    def processes(self):
        """Return every process that runs code of this checkout."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or [])
            if str(self.home) in words or str(process.info["cwd"]).startswith(str(self.home)):
                found.append((process.pid, words))
        return found

    def close(self):
        self.script("runtime-down")
        left = wait_for(lambda: not self.processes() or None, 15, str(self.processes()))
        assert left
        shutil.rmtree(self.home)


def words(process):
    """Return the command line; a zombie has none."""
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
