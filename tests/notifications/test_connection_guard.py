"""No connection to a private network, however its address is written or comes about."""

import ipaddress
import socket

import pytest

from notifications.channels.connection_guard import (
    AddressRefused,
    Guard,
    Policy,
    find_reason_against,
    unwrap,
)

PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "::", "::1", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "fd00:ec2::254",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1", "2002:7f00:1::",
    "::ffff:0:7f00:1", "2001:0:1::80ff:fffe",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
LOOPBACK = Policy((ipaddress.ip_network("127.0.0.0/8"),), frozenset({8000}))


def reason(text, policy=Policy(), port=443, is_own=False):  # noqa: B008
    return find_reason_against(ipaddress.ip_address(text), port, policy, is_own=is_own)


@pytest.mark.parametrize("text", PRIVATE)
def test_an_address_that_is_not_public_is_refused(text):
    assert "is not a public address" in reason(text)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_not_refused_unless_it_is_this_hosts(text):
    assert reason(text) == ""
    assert reason(text, is_own=True)


@pytest.mark.parametrize("text", ["127.0.0.1", "::ffff:127.0.0.1", "127.0.0.2"])
def test_an_allowed_network_never_leads_to_the_control_plane(text):
    assert reason(text, LOOPBACK, port=8080) == ""
    assert reason(text, LOOPBACK, port=8000).endswith("is the control plane.")
    assert reason("10.0.0.1", LOOPBACK)


def check(guard, address, family=socket.AF_INET, event="socket.connect"):
    with socket.socket(family) as one:
        guard.check_event(event, (one, address))


def test_each_connection_is_checked_with_the_address_that_the_name_had():
    guard = Guard(Policy())
    for address, family in (
        (("127.0.0.1", 80), socket.AF_INET),
        (("localhost", 80), socket.AF_INET),
        (("::ffff:127.0.0.1", 80, 0, 0), socket.AF_INET6),
        (("fe80::1%lo", 80, 0, 1), socket.AF_INET6),
        ("/run/docker.sock", socket.AF_UNIX),
    ):
        with pytest.raises(AddressRefused):
            check(guard, address, family)
    with pytest.raises(AddressRefused):
        check(guard, ("10.0.0.1", 514), event="socket.sendto")
    check(guard, None, event="socket.sendmsg")  # of a socket that is connected
    check(Guard(LOOPBACK), ("127.0.0.1", 8080))
    assert len(guard.refusals) == 6


@pytest.mark.parametrize("event", ["subprocess.Popen", "os.system", "syslog.syslog"])
def test_nothing_but_the_network_is_reached(event):
    with pytest.raises(AddressRefused, match="over the network only"):
        Guard(Policy()).check_event(event, ())


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("64:ff9b::10.0.0.1", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),  # 6to4
        ("2001:0:4136:e378::f5ff:fffe", "10.0.0.1"),  # Teredo: the client, not its server
    ],
)
def test_the_ipv4_address_to_which_another_leads_is_found(text, within):
    assert unwrap(ipaddress.ip_address(text)) == ipaddress.ip_address(within)


def test_an_address_of_this_host_is_its_own():
    guard = Guard(Policy())
    assert guard._is_own(socket.AF_INET, "127.0.0.1")
    assert not guard.is_looking
