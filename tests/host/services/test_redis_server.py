"""Redis servers of applications: started, emptied, started again, and closed to other commands."""

import os
import shutil
import signal
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from host import config as configuration
from host.deadline import wait_until
from host.errors import Refused
from host.files import ownership
from host.services import redis_server
from host.services.redis_server import JOBS, PRODUCTION, RedisServer
from host.units import foreign_listeners, managers
from tests.environment import free_port


@pytest.fixture
def config():
    # Not tmp_path: the servers' users could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="oroboros-redis-"))
    folder.chmod(0o755)
    # With a blank, as in the paths that people have.
    environ = {
        "OROBOROS_VAR": str(folder / "my var"),
        "OROBOROS_UID_BASE": str(100000 + 100 * (os.getpid() % 5000)),
    }
    loaded = configuration.load(environ)
    slot = replace(loaded.slots[0], redis_port=free_port())
    found = replace(loaded, slots=(slot,), redis_ports=(free_port(), free_port()))
    ownership.restrict_var(found)
    yield found
    for server in [*redis_server.list_wanted(found)]:
        server.remove()
    shutil.rmtree(folder)


def call(url, *commands):
    """Send the commands to the server of that URL; returns its answer to the last one."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), 60) as link:
        lines = (f"AUTH {parts.password}", *commands, "QUIT")
        link.sendall("".join(f"{line}\r\n" for line in lines).encode())
        answers = link.makefile("rb").read().decode().split("\r\n")
    return answers[-3]


def find_pid(config, server):
    return managers.get_manager(config).status(server.unit_name, server.port).pid


def test_a_slots_server_is_empty_and_has_another_password_at_each_start(config):
    server = RedisServer(config, "preview-1")
    first = server.start_empty()
    assert call(first, "SET a b", "GET a") == "b"
    assert server.ensure() == first
    second = server.start_empty()
    assert second != first
    assert call(second, "GET a") == "$-1"
    assert "WRONGPASS" in call(first, "GET a") or "NOAUTH" in call(first, "GET a")
    server.remove()
    assert (server.read_url(), server.folder.exists()) == ("", False)


def test_commands_that_reach_beyond_the_data_are_refused(config):
    url = RedisServer(config, "preview-1").ensure()
    # Redis 7 has DEBUG and MODULE off by itself, and says so before it asks for rights.
    refusals = ("-NOPERM", "-ERR DEBUG command not allowed", "-ERR MODULE command not allowed")
    for command in ("CONFIG SET dir /tmp", "MODULE LOAD x", "SAVE", "DEBUG SLEEP 0"):
        assert call(url, command).startswith(refusals)
    assert call(url, "CLIENT SETNAME a") == "+OK"


def test_a_killed_server_is_started_again_and_productions_keeps_its_data(config, monkeypatch):
    monkeypatch.setattr(redis_server, "PRODUCTION_SETTINGS", "save 1 1\n")
    server = RedisServer(config, PRODUCTION)
    url = server.ensure()
    call(url, "SET a b")
    dump = server.folder / "dump.rdb"
    assert wait_until(dump.exists, seconds=60)
    pid = find_pid(config, server)
    os.kill(pid, signal.SIGKILL)
    started = []
    assert wait_until(
        lambda: started.extend(redis_server.start_dead_servers(config)) or started, seconds=60
    )
    assert [one.name for one in started] == [PRODUCTION]
    assert find_pid(config, server) != pid
    assert (server.read_url(), call(url, "GET a")) == (url, "b")


def test_its_own_user_may_listen_on_a_servers_port(config):
    """Another application's process there is ended."""
    known = replace(config, is_root=True)
    rules = foreign_listeners.build_rules(known)
    for name in ("preview-1", JOBS, PRODUCTION):
        server = RedisServer(known, name)
        assert rules.allowed[server.port] == {known.redis_user(name).uid}
        assert known.redis_user(name).uid in rules.applications


def test_a_host_without_a_server_is_told_what_to_install(config, monkeypatch):
    monkeypatch.setattr(redis_server, "PROGRAMS", ())
    monkeypatch.setattr(redis_server, "_find_wheel", lambda: None)
    redis_server.find_program.cache_clear()
    try:
        with pytest.raises(Refused, match="apt-get install redis-server") as caught:
            RedisServer(config, "preview-1").ensure()
    finally:
        redis_server.find_program.cache_clear()
    assert caught.value.code == "service_unavailable"
