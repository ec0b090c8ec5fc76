"""The address by which logins and unknown tokens are limited, behind any number of own proxies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import peers


@pytest.mark.parametrize(
    ("forwarded", "remote", "expected"),
    [
        ("", "127.0.0.1", "127.0.0.1"),
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7, 127.0.0.1", "127.0.0.1", "192.0.2.7"),
        ("10.9.9.9, 192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.5", "203.0.113.5"),
        ("192.0.2.7, <script>", "127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3::4", "127.0.0.1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "127.0.0.1", "192.0.2.7"),
        # A proxy in front may connect to the router over IPv6.
        ("192.0.2.7, ::1", "127.0.0.1", "192.0.2.7"),
        ("192.0.2.7, ::ffff:127.0.0.1", "::1", "192.0.2.7"),
        ("192.0.2.7, 127.0.0.2", "::1", "192.0.2.7"),
        ("", "::1", "127.0.0.1"),
    ],
)
def test_the_client_address_is_the_one_that_the_router_saw(forwarded, remote, expected):
    assert (
        peers.get_client_address({"HTTP_X_FORWARDED_FOR": forwarded, "REMOTE_ADDR": remote})
        == expected
    )


LOOPBACKS = st.one_of(
    st.ip_addresses(network="127.0.0.0/8").map(str),
    st.just("::1"),
    st.ip_addresses(network="127.0.0.0/8").map(lambda address: f"::ffff:{address}"),
)


@given(st.ip_addresses(), st.lists(LOOPBACKS, max_size=3), LOOPBACKS)
def test_our_own_proxies_are_passed_over_whatever_the_family_of_their_address(
    visitor, proxies, remote
):
    alone = peers.get_client_address({"REMOTE_ADDR": str(visitor)})
    forwarded = ", ".join([str(visitor), *proxies])
    meta = {"HTTP_X_FORWARDED_FOR": forwarded, "REMOTE_ADDR": remote}
    assert peers.get_client_address(meta) == alone
