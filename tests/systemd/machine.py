"""A small machine for the tests: a real systemd, Debian's PostgreSQL, this checkout in /srv."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from host import config
from host.app import environment

SANDBOX = Path(__file__).with_name("sandbox")
HOME = "/srv/oroboros"
DEMO = f"{HOME}/var/demo"
WAY_OUT = 3128
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_SECONDS = 180
ENDS = ("preview_ready", "merged", "failed", "rejected", "canceled", "expired")


class Machine:
    """Booted from this host's own files, copy-on-write, with a network of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="oroboros-systemd-"))
        self.env = {**os.environ, "B": str(self.folder / "b"), "NET": "private"}
        self.proxy = None

    def sandbox(self, *words):
        done = subprocess.run([SANDBOX, *words], env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self):
        """Boot, and let installers out through a proxy."""
        self.sandbox("up")
        self._let_out()

    def reboot(self):
        """Boot again: the disk stays, processes, /run and /tmp go."""
        self._shut_in()
        self.sandbox("reboot")
        self._let_out()

    def _let_out(self):
        argv = [sys.executable, "-m", "tests.systemd.way_out", self.leader, str(WAY_OUT)]
        self.proxy = subprocess.Popen(argv, cwd=config.HOME)

    def _shut_in(self):
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()

    def down(self):
        self._shut_in()
        self.sandbox("down")
        self.folder.rmdir()

    @property
    def leader(self):
        return (self.folder / "b" / "leader").read_text().strip()

    def start(self, command, *, cwd=HOME, stdin=None, **env):
        """Run a shell's command in the machine as its root; returns the finished process."""
        argv = ["nsenter", "-t", self.leader, "-a", "env", "-i", f"PATH={PATH}", "HOME=/root"]
        argv += [*(f"{name}={value}" for name, value in env.items()), "bash", "-c"]
        return subprocess.run(
            [*argv, f"cd {cwd} && {command}"],
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
        )

    def run(self, command, **more):
        """Run a command that must succeed; returns what it printed."""
        done = self.start(command, **more)
        words = done.stderr.decode(errors="replace")
        assert done.returncode == 0, f"{command}: {done.stdout.decode(errors='replace')}\n{words}"
        return done.stdout.decode()

    def answer(self, command, **more):
        """Run a command that must succeed; returns the JSON it printed."""
        return json.loads(self.run(command, **more))

    def curl(self, address, *options):
        return self.run(f"curl -fsS {' '.join(options)} http://127.0.0.1:{address}")

    def copy_checkout(self):
        """Put this checkout's files into /srv, owned by root."""
        tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(tracked, cwd=config.HOME, capture_output=True, check=True).stdout
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in filter(None, names.decode().split("\0")):
                if (config.HOME / name).is_file():
                    archive.add(config.HOME / name, name, filter=_of_root)
        self.run(f"mkdir -p {HOME} && tar -C {HOME} -xf -", cwd="/", stdin=packed.getvalue())
        uv = Path(sys.executable).with_name("uv").read_bytes()
        self.run("cat >/usr/local/bin/uv && chmod 755 /usr/local/bin/uv", cwd="/", stdin=uv)

    @property
    def asked(self):
        """What the operator's shell says at the first installation."""
        ours = {name: os.environ[name] for name in environment.NETWORK if name in os.environ}
        return {
            **ours,
            "HTTPS_PROXY": f"http://127.0.0.1:{WAY_OUT}",
            "GIT_REMOTE_URL": f"{DEMO}/guestbook.git",
            "GIT_LOCAL_ROOTS": DEMO,
            "MERGE_GATE_GIT_PUSH_MODE": "auto",
        }

    def make_remote(self):
        """Make the demo's repository, which the control plane fetches from and pushes to."""
        make = "from host import config; from ops import demo;demo.make(config.load())"
        self.run(f"install -d -o oroboros -g oroboros {DEMO}")
        self.run(f'runuser -u oroboros -- .venv/bin/python -c "{make}"')

    def install(self):
        """Install the checkout, and make the remote it is told of."""
        self.run("./scripts/systemd-install-runtime.sh", **self.asked)
        self.make_remote()

    def make_branch(self, name, files):
        """Put a branch of one commit on main, with those files, into the demo's repository."""
        us = "runuser -u oroboros -- env HOME=/tmp"
        git = f"{us} git -c user.name=x -c user.email=x@example.com"
        self.run(f"rm -rf /tmp/branch && {git} clone -q {DEMO}/guestbook.git /tmp/branch", cwd="/")
        for path, text in files.items():
            self.run(f"{us} tee /tmp/branch/{path}", stdin=text.encode())
        self.run(f"{git} add -A && {git} commit -qm x", cwd="/tmp/branch")
        self.run(f"{git} push -q origin HEAD:refs/heads/{name}", cwd="/tmp/branch")

    def post(self, path, **body):
        said = f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        return self.answer(f"curl -fsS -X POST http://127.0.0.1:8000{path} {said}")

    def get(self, path):
        return self.answer(f"curl -fsS http://127.0.0.1:8000{path}")

    def make_run(self, branch, status="preview_ready"):
        """Make a run and return it once it has that status."""
        return self.follow(self.post("/api/runs", branch=branch, title=branch), status)

    def follow(self, run, status, seconds=120):
        """Wait until the run has that status; any other end fails."""

        def found():
            now = self.get(f"/api/runs/{run['id']}")
            return now if now["status"] in {status, *ENDS} else None

        now = wait_for(found, seconds, f"run {run['id']} is not {status}")
        assert now["status"] == status, (now["failure_code"], now["failure_detail"])
        return now

    def ship(self, run):
        """Approve a run and wait until it is merged."""
        self.post(f"/api/runs/{run['id']}/approve", commit_sha=run["commit_sha"])

        def found():
            now = self.get(f"/api/runs/{run['id']}")
            return now if now["status"] in ("merged", "failed") else None

        now = wait_for(found, 120, f"run {run['id']} is not merged")
        assert now["status"] == "merged", (now["failure_code"], now["failure_detail"])
        return now

    def pid(self, unit):
        return int(self.run(f"systemctl show -p MainPID --value {unit}"))


def wait_for(condition, seconds, why):
    """Return what `condition` returns once it is true; fail with `why` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {why}")


def _of_root(member):
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
