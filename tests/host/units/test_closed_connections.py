"""What is left of closed connections keeps no unit from its port."""

import socket
import sys
from dataclasses import replace

import pytest

from host import config
from host.errors import Refused
from host.process import socket_owner
from host.units import listeners, unit
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from tests.environment import free_port

# Serves one connection, which it closes first; its options decide who may have the port next.
SERVER = """
import os, socket, sys
server = socket.socket()
if sys.argv[1] == "reuse":
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", int(os.environ["PORT"])))
server.listen()
while True:
    client, _ = server.accept()
    client.sendall(b"served")
    client.close()
"""


@pytest.fixture
def manager(tmp_path, monkeypatch):
    monkeypatch.setattr(unit, "SETTLE_SECONDS", 60)  # it returns as soon as the unit listens
    manager = LocalManager(config.load({"OROBOROS_VAR": str(tmp_path)}))
    yield manager
    for name in manager.list_names():
        manager.stop(name, grace=0)


def make_unit(tmp_path, port, mode):
    return Unit(
        "web",
        (sys.executable, "-c", SERVER, mode),
        tmp_path,
        {"PORT": str(port), "PATH": "/usr/bin:/bin"},
        None,
        tmp_path / "log",
        port=port,
    )


def connect(port):
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        assert client.recv(16) == b"served"
        assert client.recv(16) == b""


@pytest.mark.root
@pytest.mark.parametrize("first", ["reuse", "plain"])
@pytest.mark.parametrize("second", ["reuse", "plain"])
def test_a_unit_starts_on_a_port_whose_connections_were_just_closed(
    manager, tmp_path, first, second
):
    port = free_port()
    manager.start(make_unit(tmp_path, port, first))
    connect(port)
    assert manager.stop("web", grace=60)
    assert [one.state for one in socket_owner.list_closing(port)] == [socket_owner.TIME_WAIT]
    manager.start(make_unit(tmp_path, port, second))
    connect(port)
    assert manager.stop("web", grace=60)


def test_a_listener_and_its_open_connection_survive_the_removal():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            listeners.remove_closed_connections(port)
            assert socket_owner.list_listeners(port)
            accepted.sendall(b"1")
            assert client.recv(1) == b"1"
            accepted.close()


class Manager:
    """A manager whose first starts fail with these sentences."""

    def __init__(self, *details):
        self.details, self.starts = list(details), 0

    def start(self, unit):
        self.starts += 1
        if self.details:
            raise Refused("unit_crashed", self.details.pop(0))
        return "started"


IN_USE = "web ended with exit code 1. log says:\nOSError: [Errno 98] Address already in use"


@pytest.mark.parametrize(
    ("details", "was_waiting", "starts", "result"),
    [
        ([], True, 1, "started"),
        ([IN_USE], True, 2, "started"),
        (["web ended. Error: listen EADDRINUSE"], True, 2, "started"),
        ([IN_USE, IN_USE], True, 2, IN_USE),
        ([IN_USE], False, 1, IN_USE),
        (["ImportError: no module"], True, 1, "ImportError: no module"),
    ],
)
def test_a_unit_whose_port_was_refused_is_started_again_once_they_are_gone(
    monkeypatch, tmp_path, details, was_waiting, starts, result
):
    monkeypatch.setattr(unit, "wait_for_closed_connections", lambda port, stop: was_waiting)
    manager = Manager(*details)
    try:
        found = unit.start_unit(manager, make_unit(tmp_path, 1, "plain"))
    except Refused as refused:
        found = refused.detail
    assert (found, manager.starts) == (result, starts)


def test_the_wait_ends_with_the_connections_or_at_a_request(monkeypatch):
    left = ["a connection"] * 3
    monkeypatch.setattr(socket_owner, "list_closing", lambda port: left and [left.pop()])
    assert listeners.wait_for_closed_connections(1)
    assert not listeners.wait_for_closed_connections(1)
    monkeypatch.setattr(socket_owner, "list_closing", lambda port: ["a connection"])
    assert not listeners.wait_for_closed_connections(1, lambda: True)


def test_a_unit_without_a_port_is_not_started_again(tmp_path):
    manager = Manager(IN_USE)
    with pytest.raises(Refused):
        unit.start_unit(manager, replace(make_unit(tmp_path, 1, "plain"), port=None))
    assert manager.starts == 1
