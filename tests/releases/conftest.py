"""A host of its own for every test: var, ports, production database, and Caddy in front."""

import contextlib
import http.client
import os
import random
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest

from host import config as configuration
from host.files import ownership
from host.units import managers
from slots.runtime import surface
from tests.releases.application import Repo


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_offset():
    """Return a port offset with which nothing of this host collides now."""
    while True:
        offset = random.randrange(15000, 24000)
        if all(is_free(port + offset) for port in (3100, 8110, 8111)):
            return offset


@pytest.fixture
def place():
    """A folder that other uids can reach: pytest closes its own whenever a session begins."""
    folder = Path(tempfile.mkdtemp(prefix="oroboros-releases-"))
    folder.chmod(0o755)
    yield folder
    ownership.delete(folder)


@pytest.fixture
def config(place, monkeypatch, settings):
    """The checkout's Config, on free ports and in a folder of the test's own."""
    given = {
        "OROBOROS_VAR": str(place / "var"),
        "OROBOROS_PORT_OFFSET": str(free_offset()),
        "OROBOROS_PRODUCTION_DATABASE": f"app_production_{uuid.uuid4().hex[:8]}",
        "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
        "DEPLOY_HEALTH_SECONDS": "0.3",
        "DEPLOY_START_SECONDS": "10",
        "DEPLOY_DRAIN_SECONDS": "0",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    loaded = configuration.load()
    (loaded.var / "env").mkdir(parents=True)
    settings.OROBOROS = loaded
    yield loaded
    manager = managers.manager(loaded)
    for name in manager.names():
        manager.stop(name, grace=1)


@pytest.fixture
def repo(config):
    return Repo(config)


@pytest.fixture
def web(config):
    """Production's surface: a real Caddy on the main web port; a way to ask it."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(config.var),
        **surface.environment(config, "main"),
    }
    log = (config.var / "caddy.log").open("wb")
    caddy = subprocess.Popen(surface.command(config), env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        while is_free(config.web_port):
            assert caddy.poll() is None and time.monotonic() < deadline, "Caddy does not start"
            time.sleep(0.02)
        yield Web(config.web_port)
    finally:
        caddy.kill()
        caddy.wait()
        log.close()


class Web:
    """Asks a port of this host as a browser would."""

    def __init__(self, port):
        self.port = port

    def get(self, path="/"):
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        ) as link:
            link.request("GET", path)
            answer = link.getresponse()
            return answer.status, answer.headers.get("X-Oroboros-Commit"), answer.read().decode()
