"""Whose socket it is, asked of the kernel about real connections."""

import os
import socket
import subprocess
import time

import pytest

from host.process import socket_owner

NOBODY = 61_990
# Connects to the port it is given, says from which port, and keeps the connection.
CLIENT = (
    "import socket, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
    " print(c.getsockname()[1], flush=True); sys.stdin.read()"
)


@pytest.fixture(params=["asked", "read from /proc"])
def way(request, monkeypatch):
    """Try both ways: with netlink, and where the kernel closes it to us."""
    if request.param != "asked":
        monkeypatch.setattr(socket_owner, "NETLINK_SOCK_DIAG", 31)  # a protocol nobody has


@pytest.fixture(params=["127.0.0.1", "::1"])
def connection(request):
    """Return the two ends of one connection, and its client's and server's names."""
    address = request.param
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted, (*client.getsockname()[:2], *server.getsockname()[:2])


def test_the_owner_of_a_connection_is_who_opened_it(way, connection):
    _, _, names = connection
    assert socket_owner.owner(*names) == os.getuid()


def test_another_tuple_is_nobodys(way, connection):
    _, _, (client, client_port, server, server_port) = connection
    assert socket_owner.owner(client, client_port + 1, server, server_port) is None
    assert socket_owner.owner(client, client_port, server, server_port + 1) is None


def test_a_listener_is_no_connection(way, connection):
    _, _, (client, _, server, server_port) = connection
    assert socket_owner.owner(server, server_port, client, 0) is None


def test_a_client_that_has_closed_is_nobody(way, connection):
    client, _, names = connection
    client.close()
    assert socket_owner.owner(*names) is None


def test_a_connection_the_server_has_closed_is_nobodys(way, connection):
    _, accepted, names = connection
    accepted.close()
    assert socket_owner.owner(*names) is None


def test_an_ipv4_client_of_a_server_on_both_families_is_known(way):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, peer = server.accept()
            with accepted:
                assert peer[0] == "::ffff:127.0.0.1"
                assert socket_owner.owner(*peer[:2], "::ffff:127.0.0.1", port) == os.getuid()
                mine = client.getsockname()
                assert socket_owner.owner(*mine, "127.0.0.1", port) == os.getuid()


@pytest.mark.root
def test_a_client_of_another_user_is_that_user(way):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        argv = ["/usr/bin/python3", "-c", CLIENT, str(port)]
        client = subprocess.Popen(
            argv, user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", env={},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with client:
            client_port = int(client.stdout.readline())
            assert socket_owner.owner("127.0.0.1", client_port, "127.0.0.1", port) == NOBODY
            client.kill()
            client.wait()
            deadline = time.monotonic() + 5
            while socket_owner.owner("127.0.0.1", client_port, "127.0.0.1", port) is not None:
                assert time.monotonic() < deadline


def test_the_listeners_of_a_port_are_found_with_their_holder(way):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = socket_owner.listeners(port)
        assert (str(found.address), found.port, found.uid) == ("127.0.0.1", port, os.getuid())
        assert socket_owner.holders(found.inode) == [os.getpid()]
        assert found.inode in socket_owner.inodes([os.getpid()])
    assert socket_owner.listeners(port) == []


def test_two_listeners_on_one_port_are_two(way):
    def server():
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return one

    with server() as first, server() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(first.getsockname())
        first.listen()
        second.listen()
        assert len(socket_owner.listeners(first.getsockname()[1])) == 2


def test_a_process_that_is_gone_holds_nothing():
    child = subprocess.Popen(["true"])
    child.wait()
    assert socket_owner.inodes([child.pid]) == set()
