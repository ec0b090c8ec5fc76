"""A whole host in a folder: a remote, slots, surfaces and production, without a queue.

Everything is real: git, PostgreSQL, Caddy, the guestbook's processes. The tests call what a queue
worker would call, so that they know when it is done.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import requests

from host import config as configuration
from host.units import managers
from host.units.unit import Unit
from releases.production import app_instance, current_link
from slots.runtime import backend, cleanup, surface
from tests.environment import free_port

GUESTBOOK = configuration.HOME / "examples" / "guestbook"
GIT = {
    **os.environ,
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


class World:
    """The host of these tests. `files` makes the application from the host's folder.

    `within` is where that folder is made.
    """

    def __init__(self, files=None, within=None, **environ):
        self.folder = Path(tempfile.mkdtemp(prefix="oroboros-world-", dir=within))
        self.folder.chmod(0o755)
        self.remote = self.folder / "remote.git"
        self.clone = self.folder / "clone"
        self.config = self._config(environ)
        self._make_remote(files)
        for name in ("main", "preview1", "preview2", "preview3"):
            self._serve(name)
        for slot in self.config.slots:
            surface.show_free(self.config, slot)

    def _config(self, more):
        environ = {
            **os.environ,
            "OROBOROS_VAR": str(self.folder / "var"),
            "OROBOROS_RUNTIME_LOG_DIR": str(self.folder / "runtime-logs"),
            "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
            "GIT_REMOTE_URL": str(self.remote),
            "GIT_LOCAL_ROOTS": str(self.folder),
            "MERGE_GATE_GIT_PUSH_MODE": "auto",
            "DEPLOY_HEALTH_SECONDS": "0.2",
            "DEPLOY_DRAIN_SECONDS": "0",
            # The worlds of one process share its PostgreSQL server, and the cap is the server's.
            "TEMPLATE_DATABASES_KEEP": "1000",
            **{name: value.format(folder=self.folder) for name, value in more.items()},
        }
        loaded = configuration.load(environ)
        if "OROBOROS_PORT_OFFSET" in environ:  # then processes with this environment agree on ports
            return loaded
        slots = tuple(
            replace(
                slot,
                web_port=free_port(),
                backend_port=free_port(),
                server_ports=_free_ports(slot.server_ports),
            )
            for slot in loaded.slots
        )
        return replace(
            loaded,
            slots=slots,
            web_port=free_port(),
            colour_ports=(free_port(), free_port()),
            gate_port=free_port(),
            server_ports={name: _free_ports(ports) for name, ports in loaded.server_ports.items()},
        )

    def _make_remote(self, files):
        self.git("init", "-q", "--bare", "--initial-branch=main", str(self.remote))
        if files is None:
            shutil.copytree(GUESTBOOK, self.clone)
        self.git("init", "-q", "--initial-branch=main", str(self.clone))
        self.git("remote", "add", "origin", str(self.remote), cwd=self.clone)
        self.commit("main", files(self.folder) if files else {})

    def git(self, *arguments, cwd=None):
        done = subprocess.run(
            ["git", *arguments], cwd=cwd or self.folder, env=GIT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, branch, files, *, base="main", message="a change"):
        """Commit the files on the branch (made from `base` if it is new), push, return the id.

        A file whose text is None is removed.
        """
        if self.git("branch", "--list", "main", cwd=self.clone):
            known = self.git("branch", "--list", branch, cwd=self.clone)
            where = [branch] if known else ["-b", branch, f"origin/{base}"]
            self.git("fetch", "-q", "origin", cwd=self.clone)
            self.git("checkout", "-q", *where, cwd=self.clone)
            if branch == "main":
                self.git("merge", "-q", "--ff-only", "origin/main", cwd=self.clone)
        for name, text in files.items():
            path = self.clone / name
            if text is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A", cwd=self.clone)
        self.git("commit", "-q", "--allow-empty", "-m", message, cwd=self.clone)
        self.git("push", "-q", "origin", branch, cwd=self.clone)
        return self.git("rev-parse", "HEAD", cwd=self.clone)

    def remote_main(self):
        return self.git("rev-parse", "main", cwd=self.remote)

    def _serve(self, name):
        env = surface.build_environment(self.config, name)
        unit = Unit(
            f"ouroboros-web@{name}",
            tuple(surface.build_command(self.config)),
            self.config.home,
            env,
            None,
            self.config.var / "log" / f"web-{name}.log",
            int(env["WEB_PORT"]),
        )
        managers.get_manager(self.config).start(unit)

    def get(self, port, path="/", **options):
        return requests.get(f"http://127.0.0.1:{port}{path}", timeout=60, **options)

    def tidy(self):
        """Free every slot of what a test left in it; our main is the remote's again."""
        ours = self.config.var / "repo.git"
        if ours.exists():
            self.git("fetch", "-q", str(self.remote), "main", cwd=ours)
            self.git("update-ref", "refs/heads/main", self.remote_main(), cwd=ours)
        for slot in self.config.slots:
            left = cleanup.clean_slot(self.config, slot)
            assert not left, left

    def take_down_production(self):
        """Forget what was live, as the emptied tables have."""
        for colour in ("blue", "green"):
            for name in app_instance.list_units(self.config, colour):
                managers.get_manager(self.config).stop(name, grace=2)
        current_link.clear(self.config)

    def close(self):
        manager = managers.get_manager(self.config)
        for slot in self.config.slots:
            backend.stop(self.config, slot)
        for name in manager.list_names():
            manager.stop(name, grace=2)
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def hook(self, name, script):
        """Have the remote run a hook while the body lasts, in place of the one it has."""
        path = self.remote / "hooks" / name
        before = path.read_text() if path.exists() else None
        self.install_hook(name, script)
        try:
            yield
        finally:
            path.unlink()
            if before is not None:
                self.install_hook(name, before.removeprefix("#!/bin/sh\n"))

    def install_hook(self, name, script):
        path = self.remote / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def commits(self):
        """Return how many commits there are, which makes a name for a new branch."""
        return self.git("rev-list", "--all", "--count", cwd=self.clone)


def _free_ports(ports):
    """Return as many free ports."""
    return tuple(free_port() for _ in ports)
