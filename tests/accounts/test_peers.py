"""Who is at the other end of a connection: applications, our proxies, and everyone else."""

import os
import socket
from types import SimpleNamespace

import pytest

from accounts import peers
from host.process import socket_owner

APPLICATION, PERSON, ROUTER = 5001, 5002, 5003
OURSELVES = os.geteuid()
CLIENT = "127.0.0.1 4000 127.0.0.1 443"


class Connection:
    """A connection as gunicorn has it: the client's end and the server's."""

    def __init__(self, client="127.0.0.1", server="127.0.0.1"):
        self.ends = (client, 5000), (server, 8000)

    def getpeername(self):
        return self.ends[0]

    def getsockname(self):
        return self.ends[1]


@pytest.fixture
def owners(monkeypatch, settings):
    """The uid of each client's port, as the kernel would say; the others have no known owner."""
    found = {}
    monkeypatch.setattr(socket_owner, "find_owner", lambda *ends: found.get(ends))
    users = [
        SimpleNamespace(pw_name=peers.ROUTER_USER, pw_uid=ROUTER),
        SimpleNamespace(pw_name="ann", pw_uid=PERSON),
    ]
    monkeypatch.setattr(peers.pwd, "getpwall", lambda: users)
    settings.OROBOROS = SimpleNamespace(application_uids=frozenset({APPLICATION}), is_systemd=False)
    peers._get_proxy_uids.cache_clear()
    yield found
    peers._get_proxy_uids.cache_clear()


def build_meta(owners, owner, *, client=None, address="127.0.0.1"):
    if owner is not None:
        owners["127.0.0.1", 5000, "127.0.0.1", 8000] = owner
    meta = {"gunicorn.socket": Connection(), "REMOTE_ADDR": address}
    return meta if client is None else {**meta, peers.CLIENT_HEADER: client}


@pytest.mark.parametrize(
    ("owner", "is_application"),
    [(APPLICATION, True), (None, True), (PERSON, False), (OURSELVES, False), (0, False)],
)
def test_an_application_is_known_by_the_owner_of_its_socket(owners, owner, is_application):
    assert peers.is_from_application(build_meta(owners, owner)) is is_application


@pytest.mark.parametrize("proxy", [0, OURSELVES])
@pytest.mark.parametrize(
    ("owner", "is_application"), [(APPLICATION, True), (None, True), (PERSON, False)]
)
def test_an_application_behind_the_router_is_known_by_its_own_socket(
    owners, proxy, owner, is_application
):
    if owner is not None:
        owners["127.0.0.1", 4000, "127.0.0.1", 443] = owner
    assert peers.is_from_application(build_meta(owners, proxy, client=CLIENT)) is is_application


@pytest.mark.parametrize(
    "client", ["192.0.2.7 4000 127.0.0.1 443", "127.0.0.1 4000 127.0.0.1", "here 1 there 2", ""]
)
def test_a_client_of_the_router_from_elsewhere_is_no_application(owners, client):
    assert not peers.is_from_application(build_meta(owners, 0, client=client))


def test_the_routers_header_is_believed_from_our_proxies_only(owners):
    owners["127.0.0.1", 4000, "127.0.0.1", 443] = APPLICATION
    assert not peers.is_from_application(build_meta(owners, PERSON, client=CLIENT))
    owners["127.0.0.1", 4000, "127.0.0.1", 443] = PERSON
    assert peers.is_from_application(build_meta(owners, APPLICATION, client=CLIENT))


def test_no_request_from_elsewhere_or_without_a_socket_is_an_applications(owners, settings):
    meta = build_meta(owners, APPLICATION, address="192.0.2.7")
    assert not peers.is_from_application(meta)
    meta = build_meta(owners, APPLICATION)
    assert not peers.is_from_application({**meta, "gunicorn.socket": None})
    settings.OROBOROS.application_uids = frozenset()  # applications run as we do
    assert not peers.is_from_application(meta)


@pytest.mark.parametrize(
    ("owner", "is_systemd", "is_proxy"),
    [
        (0, False, True),
        (OURSELVES, False, True),
        (OURSELVES, True, True),
        (ROUTER, True, True),
        (ROUTER, False, False),
        (PERSON, True, False),
        (APPLICATION, True, False),
        (None, True, False),
    ],
)
def test_forwarded_addresses_are_believed_from_our_proxies_only(
    owners, settings, owner, is_systemd, is_proxy
):
    settings.OROBOROS.is_systemd = is_systemd
    meta = {**build_meta(owners, owner), "HTTP_X_FORWARDED_FOR": "192.0.2.7"}
    assert peers.is_from_own_proxy(meta) is is_proxy
    assert peers.get_client_address(meta) == ("192.0.2.7" if is_proxy else "127.0.0.1")


@pytest.mark.parametrize(
    ("client", "server", "is_loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.9.9.9", "127.0.0.1", True),
        ("::1", "::1", True),
        ("192.0.2.7", "127.0.0.1", False),
        ("127.0.0.1", "192.0.2.7", False),
        ("192.0.2.7", "192.0.2.8", False),
    ],
)
def test_both_ends_of_a_connection_must_be_loopback(client, server, is_loopback):
    expected = (client, 5000, server, 8000) if is_loopback else None
    assert peers.get_loopback_endpoints(Connection(client, server)) == expected


def test_a_connection_over_a_unix_socket_or_a_closed_one_has_no_endpoints():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peers.get_loopback_endpoints(ours) is None
    assert peers.get_loopback_endpoints(ours) is None


def test_a_client_that_is_not_loopback_has_no_owner_and_the_kernel_is_not_queried_again(owners):
    meta = {"gunicorn.socket": Connection("192.0.2.7")}
    assert peers.find_client_owner(meta) is None
    meta["gunicorn.socket"] = Connection()
    owners["127.0.0.1", 5000, "127.0.0.1", 8000] = PERSON
    assert peers.find_client_owner(meta) is None
    assert peers.find_client_owner({"gunicorn.socket": Connection()}) == PERSON


@pytest.mark.parametrize(
    ("text", "endpoints"),
    [
        (CLIENT, ("127.0.0.1", 4000, "127.0.0.1", 443)),
        ("::1 4000 ::1 443", ("::1", 4000, "::1", 443)),
        ("127.0.0.1 4000 127.0.0.1 443 more", None),
        ("127.0.0.1 x 127.0.0.1 443", None),
        ("127.0.0.1 4000 127.0.0.1 x", None),
        ("localhost 4000 127.0.0.1 443", None),
        ("127.0.0.1 4000 localhost 443", None),
    ],
)
def test_the_endpoints_of_the_routers_client_are_parsed(text, endpoints):
    assert peers.parse_client(text) == endpoints
