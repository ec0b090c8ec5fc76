"""Who listens where: the listeners of a unit's port, and sentences about wrong addresses."""

from collections.abc import Callable, Collection, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from host.deadline import wait_until
from host.process import process_table, socket_owner
from host.process.socket_owner import Address, Socket

Listening = Literal["ours", "foreign", "none"]

# The kernel keeps a connection for 60 s after its end (TIME_WAIT, tcp(7)).
CLOSED_SECONDS = 62.0
# So long the last data of a connection may take to its client before it is removed.
DELIVERY_SECONDS = 1.0
POLL_SECONDS = 0.05
UNDELIVERED = (socket_owner.FIN_WAIT1, socket_owner.LAST_ACK, socket_owner.CLOSING)

LOOPBACK, LOOPBACK_IPV6 = IPv4Address("127.0.0.1"), IPv6Address("::1")
ALL_INTERFACES = (IPv4Address("0.0.0.0"), IPv6Address("::"))  # noqa: S104 — compared, not bound


def find_listener(port: int | None, is_ours: Callable[[Socket], bool]) -> tuple[Listening, str]:
    """Return who listens on the port, and the description of a foreign listener.

    "ours": every listener is ours, and one of them accepts connections to 127.0.0.1. Several of
    ours may share the address (SO_REUSEPORT).
    """
    listeners = socket_owner.list_listeners(port) if port is not None else []
    for listener in listeners:
        if not is_ours(listener):
            return "foreign", describe_holder(listener)
    return ("ours" if any(_accepts_loopback(one.address) for one in listeners) else "none"), ""


def remove_closed_connections(port: int) -> None:
    """Remove what is left of connections to the port of a unit that is about to start, as root.

    For 60 s they refuse the port to a program that binds without SO_REUSEADDR, and to every
    program where the one before had bound so: to the next release, or to an idle page (socket(7)).
    """

    def is_delivered() -> bool:
        return all(one.state not in UNDELIVERED for one in socket_owner.list_closing(port))

    wait_until(is_delivered, seconds=DELIVERY_SECONDS, interval=POLL_SECONDS)
    for one in socket_owner.list_closing(port):
        socket_owner.destroy(one)


def wait_for_closed_connections(port: int, stop: Callable[[], bool] | None = None) -> bool:
    """Wait until the kernel has removed them, where we may not; False if there were none.

    Also false if `stop`, which is called meanwhile, returned true.
    """
    if not socket_owner.list_closing(port):
        return False
    return wait_until(
        lambda: not socket_owner.list_closing(port),
        seconds=CLOSED_SECONDS,
        interval=0.5,
        stop=stop,
    )


def find_foreign_listener(port: int) -> str:
    """Return the description of a listener on a surface's port that is not the surface; "" if none.

    A surface listens on the loopbacks only, as one user.
    """
    listeners = socket_owner.list_listeners(port)
    owners = {one.uid for one in listeners if one.address == LOOPBACK}
    for one in select_not_owned(listeners, owners):
        return f"{describe_holder(one)} on {describe_socket(one)}"
    return ""


def select_not_owned(listeners: Iterable[Socket], owners: Collection[int]) -> list[Socket]:
    """Return the listeners on another address than the loopbacks, or of another uid."""
    own = (LOOPBACK, LOOPBACK_IPV6)
    return [one for one in listeners if one.address not in own or one.uid not in owners]


def find_open_addresses(listeners: Iterable[Socket]) -> list[str]:
    """Return the addresses of those that listen on all interfaces."""
    return _list_addresses(one for one in listeners if one.address in ALL_INTERFACES)


def describe_wrong_addresses(
    listeners: Sequence[Socket], port: int, unix: Sequence[str] = (), *, is_refused: bool = False
) -> str:
    """Return a sentence about where a unit listens in place of 127.0.0.1 and its `port`.

    "" if it listens there. `unix` are the addresses of its Unix sockets; `is_refused`: 127.0.0.1
    refuses connections, as where a socket on `::` takes those of IPv6 only.
    """
    own = [one for one in listeners if one.port == port]
    if any(_accepts_loopback(one.address) and not is_refused for one in own):
        return ""
    if not (listeners or unix):
        return "It listens on no TCP port."
    addresses = ", ".join(
        [*_list_addresses(listeners), *(f"the Unix socket {one}" for one in unix)]
    )
    return f"It listens on {addresses}: it must listen on {LOOPBACK}, port $PORT ({port})."


def find_reachable_address(listener: Socket) -> str:
    """Return the address at which this host reaches the listener."""
    if listener.address not in ALL_INTERFACES:
        return str(listener.address)
    return str(LOOPBACK if listener.address.version == 4 else LOOPBACK_IPV6)


def describe_background(
    exit_code: int | None, pids: Sequence[int], sockets: Sequence[Socket]
) -> str:
    """Return a sentence about processes that outlive the one that was started; "" if it crashed.

    `pids` are those of the family that still run, `sockets` what they listen on.
    """
    # Without an exit code (another process started it) only a listener shows that it did not crash.
    if not (exit_code == 0 or (exit_code is None and sockets)):
        return ""
    advice = "Run it in the foreground, not as a daemon."
    if not pids:
        return f"A process that is to keep running must not end. {advice}"
    named = ", ".join(process_table.describe_process(pid) for pid in pids)
    where = f", listening on {', '.join(_list_addresses(sockets))}" if sockets else ""
    return f"It went into the background: {named} still ran{where}. {advice}"


def _accepts_loopback(address: Address) -> bool:
    # Whether a socket on `::` accepts IPv4 too (IPV6_V6ONLY) is not in the kernel's table.
    return address == LOOPBACK or address in ALL_INTERFACES


def _list_addresses(listeners: Iterable[Socket]) -> list[str]:
    return sorted({_format_address(one.address, one.port) for one in listeners})


def _format_address(address: Address, port: int) -> str:
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def describe_socket(listener: Socket) -> str:
    """Return the address and the port of a listener, as in a URL."""
    return _format_address(listener.address, listener.port)


def describe_holder(listener: Socket) -> str:
    """Return a description of the process that listens."""
    pids = socket_owner.find_holders(listener.inode)
    return process_table.describe_process(pids[0]) if pids else f"a process of uid {listener.uid}"
