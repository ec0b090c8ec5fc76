"""A virtual machine for tests: systemd, Debian's PostgreSQL, this checkout in /srv.

It is a set of namespaces on a copy-on-write copy of this host's files: see `sandbox`.
"""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from host import config
from host.app.dependencies import registries
from host.deadline import wait_until

SANDBOX = Path(__file__).with_name("sandbox")
HOME = "/srv/oroboros"
DEMO = f"{HOME}/var/demo"
PROXY_PORT = 3128
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMAND_SECONDS = 180
END_STATUSES = ("preview_ready", "merged", "failed", "rejected", "canceled", "expired")


class Machine:
    """A machine with the files of this host, copy-on-write, and its own network."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="oroboros-systemd-"))
        self.env = {**os.environ, "B": str(self.folder / "b"), "NET": "private"}
        self.proxy = None

    def _run_sandbox(self, *arguments):
        done = subprocess.run([SANDBOX, *arguments], env=self.env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def boot(self):
        """Boot, and start the proxy through which installers reach the package registries."""
        self._run_sandbox("up")
        self._start_proxy()

    def reboot(self):
        """Reboot: the disk is kept; processes, /run and /tmp are not.

        Returns the seconds until everything had stopped.
        """
        self._stop_proxy()
        output = self._run_sandbox("reboot")
        self._start_proxy()
        return int(re.search(r"down after (\d+) us", output)[1]) / 1e6

    def _start_proxy(self):
        argv = [sys.executable, "-m", "tests.systemd.connect_proxy", self.leader, str(PROXY_PORT)]
        self.proxy = subprocess.Popen(argv, cwd=config.HOME)

    def _stop_proxy(self):
        if self.proxy is not None:
            self.proxy.kill()
            self.proxy.wait()

    def shut_down(self):
        self._stop_proxy()
        self._run_sandbox("down")
        self.folder.rmdir()

    @property
    def leader(self):
        """The pid of the machine's systemd on this host."""
        return (self.folder / "b" / "leader").read_text().strip()

    def run_unchecked(self, command, *, cwd=HOME, stdin=None, seconds=COMMAND_SECONDS, **env):
        """Run a shell command in the machine as root; return the completed process.

        Raises TimeoutExpired after `seconds`.
        """
        argv = ["nsenter", "-t", self.leader, "-a", "env", "-i", f"PATH={PATH}", "HOME=/root"]
        argv += [*(f"{name}={value}" for name, value in env.items()), "bash", "-c"]
        return subprocess.run(
            [*argv, f"cd {cwd} && {command}"],
            input=stdin,
            capture_output=True,
            timeout=seconds,
        )

    def run(self, command, **options):
        """Run a command that must succeed; return its stdout."""
        done = self.run_unchecked(command, **options)
        errors = done.stderr.decode(errors="replace")
        assert done.returncode == 0, f"{command}: {done.stdout.decode(errors='replace')}\n{errors}"
        return done.stdout.decode()

    def run_json(self, command, **options):
        """Run a command that must succeed; return the JSON that it printed."""
        return json.loads(self.run(command, **options))

    def curl(self, address, *options):
        return self.run(f"curl -fsS {' '.join(options)} http://127.0.0.1:{address}")

    def copy_checkout(self):
        """Copy this checkout's files to /srv, owned by root."""
        tracked = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        names = subprocess.run(tracked, cwd=config.HOME, capture_output=True, check=True).stdout
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in filter(None, names.decode().split("\0")):
                if (config.HOME / name).is_file():
                    archive.add(config.HOME / name, name, filter=_set_owner_root)
        self.run(f"mkdir -p {HOME} && tar -C {HOME} -xf -", cwd="/", stdin=packed.getvalue())
        uv = Path(sys.executable).with_name("uv").read_bytes()
        self.run("cat >/usr/local/bin/uv && chmod 755 /usr/local/bin/uv", cwd="/", stdin=uv)

    @property
    def install_environment(self):
        """The variables of the operator's shell at the first installation."""
        network = {name: os.environ[name] for name in registries.ALL_NAMES if name in os.environ}
        return {
            **network,
            "HTTPS_PROXY": f"http://127.0.0.1:{PROXY_PORT}",
            "GIT_REMOTE_URL": f"{DEMO}/guestbook.git",
            "GIT_LOCAL_ROOTS": DEMO,
            "MERGE_GATE_GIT_PUSH_MODE": "auto",
        }

    def make_remote(self):
        """Create the demo's repository, which the control plane fetches from and pushes to."""
        code = "from host import config; from ops import demo;demo.create_remote(config.load())"
        self.run(f"install -d -o oroboros -g oroboros {DEMO}")
        self.run(f'runuser -u oroboros -- .venv/bin/python -c "{code}"')

    def install(self):
        """Install the checkout, and create its git remote."""
        self.run("./scripts/systemd-install-runtime.sh", **self.install_environment)
        self.make_remote()

    def make_branch(self, name, files, repository=f"{DEMO}/guestbook.git", owner="oroboros"):
        """Push a branch with one commit on top of main, with `files`, to the repository."""
        as_owner = f"runuser -u {owner} -- env HOME=/tmp"
        git = f"{as_owner} git -c user.name=x -c user.email=x@example.com"
        self.run(f"rm -rf /tmp/branch && {git} clone -q {repository} /tmp/branch", cwd="/")
        for path, text in files.items():
            self.run(f"{as_owner} tee /tmp/branch/{path}", stdin=text.encode())
        self.run(f"{git} add -A && {git} commit -qm x", cwd="/tmp/branch")
        self.run(f"{git} push -q origin HEAD:refs/heads/{name}", cwd="/tmp/branch")

    def post(self, path, **body):
        options = f"-H 'Content-Type: application/json' -d '{json.dumps(body)}'"
        return self.run_json(f"curl -fsS -X POST http://127.0.0.1:8000{path} {options}")

    def get(self, path):
        return self.run_json(f"curl -fsS http://127.0.0.1:8000{path}")

    def make_run(self, branch, status="preview_ready"):
        """Create a run of the branch, wait until it has the status, and return it."""
        return self.wait_for_status(self.post("/api/runs", branch=branch, title=branch), status)

    def wait_for_status(self, run, status, seconds=300):
        """Wait until the run has the status; return it. Fails if it ends with another status."""

        def read_run():
            now = self.get(f"/api/runs/{run['id']}")
            return now if now["status"] in {status, *END_STATUSES} else None

        now = wait_for(read_run, seconds, f"run {run['id']} is not {status}")
        assert now["status"] == status, (now["failure_code"], now["failure_detail"])
        return now

    def ship(self, run):
        """Approve a run, wait until it is merged, and return it."""
        self.post(f"/api/runs/{run['id']}/approve", commit_sha=run["commit_sha"])

        def read_ended_run():
            now = self.get(f"/api/runs/{run['id']}")
            return now if now["status"] in ("merged", "failed") else None

        now = wait_for(read_ended_run, 120, f"run {run['id']} is not merged")
        assert now["status"] == "merged", (now["failure_code"], now["failure_detail"])
        return now

    def pid(self, unit):
        """Return the pid of the unit's main process; 0 if it does not run."""
        return int(self.run(f"systemctl show -p MainPID --value {unit}"))


def wait_for(condition, seconds, why):
    """Return the result of `condition` once it is true; fail with `why` after `seconds`."""
    result = wait_until(condition, seconds=seconds, interval=0.2)
    assert result, f"not within {seconds} s: {why}"
    return result


def _set_owner_root(member):
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
