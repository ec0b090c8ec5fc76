"""The owners of real connections and listeners."""

import contextlib
import os
import socket
import subprocess

import pytest

from host.process import socket_owner
from tests.host.processes import RESERVED_USER, wait_for

CLIENT_UID = RESERVED_USER.uid
# Connects to the given port, prints its own port, and keeps the connection open.
CLIENT = (
    "import socket, sys; c = socket.create_connection(('127.0.0.1', int(sys.argv[1])));"
    " print(c.getsockname()[1], flush=True); sys.stdin.read()"
)


@pytest.fixture(params=["netlink", "/proc"])
def source(request, monkeypatch):
    """Read with netlink, and from /proc/net as where netlink is closed."""
    if request.param != "netlink":
        monkeypatch.setattr(socket_owner, "NETLINK_SOCK_DIAG", 31)  # an unknown protocol


@pytest.fixture(params=["127.0.0.1", "::1"])
def connection(request):
    """Return both ends of a connection, and its 4-tuple."""
    address = request.param
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as server:
        client = socket.create_connection(server.getsockname()[:2])
        accepted, _ = server.accept()
        with client, accepted:
            yield client, accepted, (*client.getsockname()[:2], *server.getsockname()[:2])


def test_the_owner_of_a_connection_is_its_clients_user(source, connection):
    _, _, names = connection
    assert socket_owner.find_owner(*names) == os.getuid()


def test_another_4_tuple_has_no_owner(source, connection):
    _, _, (client, client_port, server, server_port) = connection
    assert socket_owner.find_owner(client, client_port + 1, server, server_port) is None
    assert socket_owner.find_owner(client, client_port, server, server_port + 1) is None


def test_a_listener_has_no_owner(source, connection):
    _, _, (client, _, server, server_port) = connection
    assert socket_owner.find_owner(server, server_port, client, 0) is None


def test_a_connection_that_its_client_closed_has_no_owner(source, connection):
    client, _, names = connection
    client.close()
    assert socket_owner.find_owner(*names) is None


def test_a_connection_that_its_server_closed_has_no_owner(source, connection):
    _, accepted, names = connection
    accepted.close()
    assert socket_owner.find_owner(*names) is None


def test_an_ipv4_client_of_a_dual_stack_server_has_its_owner(source):
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, peer = server.accept()
            with accepted:
                assert peer[0] == "::ffff:127.0.0.1"
                assert socket_owner.find_owner(*peer[:2], "::ffff:127.0.0.1", port) == os.getuid()
                mine = client.getsockname()
                assert socket_owner.find_owner(*mine, "127.0.0.1", port) == os.getuid()


@pytest.mark.root
def test_a_client_of_another_user_has_that_owner(source):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        argv = ["/usr/bin/python3", "-c", CLIENT, str(port)]
        client = subprocess.Popen(
            argv, user=CLIENT_UID, group=CLIENT_UID, extra_groups=[], cwd="/", env={},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        with client:
            client_port = int(client.stdout.readline())
            assert (
                socket_owner.find_owner("127.0.0.1", client_port, "127.0.0.1", port) == CLIENT_UID
            )
            client.kill()
            client.wait()
            names = ("127.0.0.1", client_port, "127.0.0.1", port)
            wait_for(lambda: socket_owner.find_owner(*names) is None)


def test_a_listener_is_found_with_its_holder(source):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = socket_owner.list_listeners(port)
        assert (str(found.address), found.port, found.uid) == ("127.0.0.1", port, os.getuid())
        assert socket_owner.find_holders(found.inode) == [os.getpid()]
        assert found.inode in socket_owner.list_inodes([os.getpid()])
    assert socket_owner.list_listeners(port) == []


def test_a_holder_is_found_beside_an_open_file_whose_path_no_call_can_name(tmp_path):
    with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as server:
        folder = os.open(tmp_path, os.O_RDONLY)
        stack.callback(os.close, folder)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=folder)
            folder = os.open("d" * 250, os.O_RDONLY, dir_fd=folder)
            stack.callback(os.close, folder)
        with pytest.raises(OSError, match="too long"):
            os.readlink(f"/proc/self/fd/{folder}")
        (found,) = socket_owner.list_listeners(server.getsockname()[1])
        assert socket_owner.find_holders(found.inode) == [os.getpid()]


def test_two_listeners_on_one_port_are_both_found(source):
    def server():
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return one

    with server() as first, server() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(first.getsockname())
        first.listen()
        second.listen()
        assert len(socket_owner.list_listeners(first.getsockname()[1])) == 2


def test_sockets_are_mapped_to_their_holder():
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.fstat(server.fileno()).st_ino
        assert socket_owner.map_holders({inode}) == {inode: os.getpid()}
    assert socket_owner.map_holders({inode}) == {}
    assert socket_owner.map_holders(set()) == {}


def test_sockets_are_counted_by_their_protocol():
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            udp.bind(("127.0.0.1", 0))
        counts = socket_owner.count_sockets()
    assert counts.keys() == {"TCP", "UDP"}
    assert min(counts.values()) >= 10


def test_unix_sockets_that_listen_are_found_by_their_inodes(tmp_path):
    with contextlib.ExitStack() as stack:
        one, other, silent = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in "abc")
        for name, each in (("one", one), ("other", other), ("silent", silent)):
            each.bind(str(tmp_path / name))
        one.listen()
        other.listen()
        inodes = {os.fstat(each.fileno()).st_ino for each in (one, silent)}
        assert socket_owner.list_unix_listeners(inodes) == [str(tmp_path / "one")]


@pytest.mark.parametrize(
    ("text", "address"),
    [("fe80::1%eth0", "fe80::1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1")],
)
def test_an_address_is_read_without_its_interface_and_as_ipv4_where_it_is(text, address):
    assert str(socket_owner._parse_address(text)) == address


def test_a_process_that_ended_has_no_sockets():
    child = subprocess.Popen(["true"])
    child.wait()
    assert socket_owner.list_inodes([child.pid]) == set()


def test_the_local_ports_are_the_kernels_default_where_no_setting_is_shown(tmp_path, monkeypatch):
    file = tmp_path / "ip_local_port_range"
    monkeypatch.setattr(socket_owner, "LOCAL_PORTS_FILE", file)
    assert socket_owner.read_local_ports() == range(32768, 61000)
    file.write_text("20000\t20099\n")
    assert socket_owner.read_local_ports() == range(20000, 20100)


def test_unix_sockets_are_listed_with_their_inodes_named_or_not():
    with socket.socket(socket.AF_UNIX) as named, socket.socket(socket.AF_UNIX) as unnamed:
        named.bind("")  # an abstract name of the kernel's choice
        inodes = {os.fstat(one.fileno()).st_ino for one in (named, unnamed)}
        assert inodes <= socket_owner.list_unix_inodes()
