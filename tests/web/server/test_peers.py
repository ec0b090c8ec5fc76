"""The connections of one peer are found by address, user or process, and the oldest are dropped."""

import socket
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host.processes import RESERVED_USER
from web.server.peers import choose_excess, is_from_shell, name_peers

CONNECT = """
import socket, sys
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(3)]
sys.stdin.read()
"""


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 9))
def test_the_oldest_waiting_connections_of_a_peer_with_too_many_are_dropped(found, limit):
    peers = {number: peer for number, (peer, _) in enumerate(found)}
    waiting = [number for number, (_, is_waiting) in enumerate(found) if is_waiting]
    excess = choose_excess(peers, waiting, limit)
    for peer in "abc":
        own = [number for number in waiting if peers[number] == peer]
        dropped = [number for number in excess if peers[number] == peer]
        too_many = max(0, sum(one == peer for one in peers.values()) - limit)
        assert dropped == own[: min(too_many, len(own))]


@contextmanager
def accept_from(*users):
    """Yield the accepted ends of three connections from a process of each user."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", CONNECT, str(server.getsockname()[1])]
        processes = [
            subprocess.Popen(argv, stdin=subprocess.PIPE, user=user, group=user, cwd="/")
            for user in users
        ]
        accepted = [server.accept() for _ in range(3 * len(users))]
        try:
            yield processes, [accept_connection(*one) for one in accepted]
        finally:
            for process in processes:
                process.communicate()
            for one, _ in accepted:
                one.close()


def accept_connection(accepted, client, headers=(), path=b"/api/runs"):
    buffer = SimpleNamespace(headers={*headers}, path=path)
    return ConnectionStandIn(client=client, server=accepted.getsockname(), buffer=buffer)


class ConnectionStandIn(SimpleNamespace):
    """The parts of a connection by which its peer is found."""

    __hash__ = object.__hash__


def test_what_this_user_runs_is_told_apart_by_its_process():
    with accept_from(None, None) as (processes, connections):
        names = [*name_peers(connections).values()]
        assert sorted(names) == sorted(f"process {one.pid}" for one in processes * 3)
        assert all(is_from_shell(one) for one in connections)


@pytest.mark.root
def test_other_users_of_the_host_are_told_apart_by_their_user():
    uid = RESERVED_USER.uid
    with accept_from(uid, uid) as (_, connections):
        assert {*name_peers(connections).values()} == {f"uid {uid}"}
        assert not any(is_from_shell(one) for one in connections)


def test_what_the_router_forwards_is_not_from_the_shell():
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        accepted, client = server.accept()
        with accepted:
            assert is_from_shell(accept_connection(accepted, client))
            assert not is_from_shell(accept_connection(accepted, client, [b"x-oroboros-client"]))
            # It asks this for its clients, and names none of them.
            for path in (b"/internal/preview-access", b"/internal/certificate"):
                assert not is_from_shell(accept_connection(accepted, client, path=path))
    elsewhere = ConnectionStandIn(client=("192.0.2.7", 1), server=("192.0.2.1", 2))
    assert name_peers([elsewhere]) == {elsewhere: "192.0.2.7"}
