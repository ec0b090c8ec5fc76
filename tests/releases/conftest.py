"""Gives each test its own host: var folder, ports, production database and a Caddy."""

import contextlib
import http.client
import os
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import pytest

from host import config as configuration
from host.deadline import wait_until
from host.files import ownership
from host.units import managers
from releases.models import Release
from releases.production import draining
from slots.runtime import surface
from tests.environment import free_offset
from tests.releases.application import Repo
from tests.releases.production_state import deploy, make_live, make_release


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def base_folder():
    """A folder that other users can enter, unlike pytest's own, which has mode 0700."""
    folder = Path(tempfile.mkdtemp(prefix="oroboros-releases-"))
    folder.chmod(0o755)
    yield folder
    ownership.delete_tree(folder)


@pytest.fixture
def config(base_folder, monkeypatch, settings):
    """The checkout's configuration with free ports and the test's own folder."""
    given = {
        "OROBOROS_VAR": str(base_folder / "var"),
        "OROBOROS_PORT_OFFSET": str(free_offset()),
        "OROBOROS_PRODUCTION_DATABASE": f"app_production_{uuid.uuid4().hex[:8]}",
        "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
        "DEPLOY_HEALTH_SECONDS": "0.3",
        "DEPLOY_START_SECONDS": "60",
        "DEPLOY_DRAIN_SECONDS": "0",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    # test_draining.py shows the wait; others deploy several times within seconds.
    monkeypatch.setattr(draining, "PORT_REUSE_SECONDS", 0.0)
    loaded = configuration.load()
    (loaded.var / "env").mkdir(parents=True)
    settings.OROBOROS = loaded
    yield loaded
    manager = managers.get_manager(loaded)
    for name in manager.list_names():
        manager.stop(name, grace=1)


@pytest.fixture
def repo(config):
    return Repo(config)


@pytest.fixture
def web(config):
    """Production's surface, a real Caddy on the main web port, and a client for it."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(config.var),
        **surface.build_environment(config, "main"),
    }
    log = (config.var / "caddy.log").open("wb")
    caddy = subprocess.Popen(surface.build_command(config), env=env, stdout=log, stderr=log)
    try:
        wait_until(lambda: caddy.poll() is not None or not is_free(config.web_port), seconds=60)
        assert caddy.poll() is None and not is_free(config.web_port), "Caddy does not start"
        yield Web(config.web_port)
    finally:
        caddy.kill()
        caddy.wait()
        log.close()


@pytest.fixture
def two_releases(config, repo, web):
    """The release that was live before, and the live one."""
    return deploy(config, repo.commit("one")), deploy(config, repo.commit("two"))


@pytest.fixture
def releases(config):
    """Three releases with small builds, oldest first; the last one is live."""
    made = [make_release(config, digit) for digit in "abc"]
    for release in made:
        make_live(config, release)
    return [Release.objects.get(pk=release.pk) for release in made]


class Web:
    """A client for one port of this host."""

    def __init__(self, port):
        self.port = port

    def get(self, path="/", timeout=60):
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        ) as link:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.headers.get("X-Oroboros-Commit"), answer.read().decode()
