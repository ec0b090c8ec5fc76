"""Applications that listen on a port of the stack which is not their own, on any address."""

import os
import shutil
import socket
import sys
import tempfile
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import config as configuration
from host.process import runner, socket_owner
from host.process.socket_owner import CLOSE, ESTABLISHED, LISTEN, TCP, UDP, Socket
from host.process.termination import terminate_family
from host.units import foreign_listeners
from host.units.foreign_listeners import (
    PortRules,
    select_excessive_users,
    select_foreign,
    select_in_the_way,
)
from host.units.jobs import JobUser
from host.units.listeners import select_not_owned
from host.units.local_manager import LocalManager
from host.units.systemd_manager import SystemdManager
from host.units.unit import Unit
from tests.environment import free_port
from tests.host.processes import is_running, wait_for

PROGRAM = Path(__file__).with_name("foreign_listener.py")
ENV = {"PATH": os.environ.get("PATH", os.defpath)}
SERVER = """
import os, socket, time
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
time.sleep(600)
"""
ADDRESSES = st.one_of(
    st.sampled_from(["127.0.0.1", "::1", "0.0.0.0", "::", "127.0.0.2"]).map(ip_address),
    st.ip_addresses(),
)
PORTS, UIDS = st.sampled_from([3100, 8101, 8110, 9000]), st.sampled_from([0, 1, 2, 50, 60, 1000])
RULES = PortRules(
    {3100: frozenset(), 8101: frozenset({1}), 8110: frozenset({60})}, frozenset({1, 2, 50, 60})
)
RECEIVER = """
import os, socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind("passed")
os.chmod("passed", 0o777)
server.listen()
open("ready", "w").close()
if sys.argv[1:] == ["unread"]:
    time.sleep(600)
link, _ = server.accept()
_, held, _, _ = socket.recv_fds(link, 1, 1)
link.send(b"1")
time.sleep(600)
"""
ACCEPTOR = """
import os, socket, time
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=100)
clients = [socket.create_connection(server.getsockname()) for _ in range(60)]
held = [server.accept() for _ in clients]
open("ready", "w").close()
time.sleep(600)
"""
UNUSED_UID = 61_977  # no process has it
HOLD_PORTS = """
import os, socket, sys, time
kind, first, last = (int(word) for word in sys.argv[1:])
held = []
for port in range(first, last):
    one = socket.socket(socket.AF_INET, kind)
    try:
        one.bind(("0.0.0.0", port))
    except OSError:
        continue
    held.append(one)
if os.fork() == 0:
    os.setsid()
    open("ready", "w").close()
    time.sleep(600)
"""


def listener(address, port, uid, state=LISTEN):
    return Socket(address, port, IPv4Address(0), 0, state, uid, 1)


@given(ADDRESSES, PORTS, UIDS)
def test_an_application_listens_on_no_address_of_another_port_of_the_stack(address, port, uid):
    is_application, is_port_of_ours = uid in (1, 2, 50, 60), port != 9000
    is_own = (port, uid) in ((8101, 1), (8110, 60))
    found = select_foreign([listener(address, port, uid)], RULES)
    assert bool(found) == (is_application and is_port_of_ours and not is_own)


@given(ADDRESSES, st.sampled_from([LISTEN, CLOSE, ESTABLISHED]), st.booleans())
def test_any_use_of_another_port_is_foreign_but_a_connection_from_a_local_port(
    address, state, is_local
):
    rules = replace(RULES, local_ports=range(3000, 3200) if is_local else range(32768, 60999))
    found = select_foreign([listener(address, 3100, 1, state)], rules)
    assert bool(found) == (state != ESTABLISHED or not is_local)


@given(
    ADDRESSES,
    st.sampled_from([LISTEN, CLOSE, ESTABLISHED]),
    st.sampled_from([0, 1, 2]),
    st.booleans(),
)
def test_a_connection_keeps_a_port_from_its_unit_only_as_its_own_users_choice(
    address, state, uid, is_local
):
    rules = replace(RULES, local_ports=range(8000, 9000) if is_local else range(32768, 60999))
    is_in_the_way = state != ESTABLISHED or (uid == 1 and not is_local)
    found = select_in_the_way([listener(address, 8101, uid, state)], 8101, rules)
    assert bool(found) == (uid != 0 and is_in_the_way)
    assert select_in_the_way([listener(address, 8110, uid, state)], 8101, rules) == []


@given(st.dictionaries(st.integers(1, 60), st.integers(0, 9000)), st.integers(0, 20_000))
def test_those_who_hold_the_most_ports_are_ended_and_no_more_of_them(held, enough):
    chosen = select_excessive_users(held, enough)
    left = [held[uid] for uid in held if uid not in chosen]
    assert sum(left) <= enough
    if chosen:
        assert sum(left) + held[chosen[-1]] > enough
        assert held[chosen[-1]] >= max(left, default=0)


@given(st.lists(st.tuples(ADDRESSES, PORTS, UIDS)))
def test_a_foreign_listener_is_found_among_any_others(entries):
    listeners = [listener(*entry) for entry in entries]
    alone = [one for one in listeners if select_foreign([one], RULES)]
    assert select_foreign(listeners, RULES) == alone


@given(ADDRESSES, st.sampled_from([7, 8]))
def test_a_surfaces_port_has_a_foreign_listener_unless_its_user_listens_on_a_loopback(address, uid):
    own = [listener(ip_address(one), 3100, 7) for one in ("127.0.0.1", "::1")]
    other = listener(address, 3100, uid)
    is_own = uid == 7 and str(address) in ("127.0.0.1", "::1")
    assert select_not_owned([*own, other], {7}) == ([] if is_own else [other])


@pytest.fixture
def folder():
    """A folder that other users can enter."""
    folder = Path(tempfile.mkdtemp(prefix="oroboros-foreign-"))
    folder.chmod(0o755)
    shutil.copy(PROGRAM, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def config(folder):
    uid_base = 100000 + 100 * (os.getpid() % 5000)
    environ = {"OROBOROS_VAR": str(folder / "var"), "OROBOROS_UID_BASE": str(uid_base)}
    loaded = configuration.load(environ)
    names = ("web_port", "api_port", "worker_port", "router_port", "gate_port", "postgres_port")
    slots = tuple(
        replace(slot, web_port=free_port(), backend_port=free_port()) for slot in loaded.slots
    )
    ports = {name: free_port() for name in names}
    yield replace(loaded, slots=slots, colour_ports=(free_port(), free_port()), **ports)
    for user in loaded.application_users:
        user.kill_all()


@pytest.fixture
def listen_as(folder):
    """Listen on addresses of a port as a user; returns the pid that listens."""

    def listen_as(user, port, *addresses, again=False, how=""):
        pids = folder / f"pids-{user.uid}"
        pids.touch()
        pids.chmod(0o666)
        word = how or ("again" if again else "once")
        argv = [sys.executable, "foreign_listener.py", str(port), word, str(pids), *addresses]
        user = replace(user, folders=None)  # it sees this checkout's Python
        runner.spawn(argv, cwd=folder, env=ENV, user=user, log=folder / "log")
        return int(wait_for(pids.read_text).split()[0])

    return listen_as


@pytest.fixture
def hold_ports_as(folder):
    """Have a user bind all free ports of a range, and do nothing with them."""

    def hold_ports_as(user, kind, ports):
        folder.chmod(0o777)
        argv = [sys.executable, "-c", HOLD_PORTS, str(int(kind)), str(ports.start), str(ports.stop)]
        user = replace(user, folders=None)
        runner.spawn(argv, cwd=folder, env=ENV, user=user, log=folder / "log")
        wait_for((folder / "ready").exists)

    return hold_ports_as


@pytest.fixture
def receive_as(folder):
    """Start a program that receives a socket and keeps it; returns its pid."""
    started = []

    def receive_as(user, *args):
        folder.chmod(0o777)
        user = user and replace(user, folders=None)
        argv = [sys.executable, "-c", RECEIVER, *args]
        started.append(runner.spawn(argv, cwd=folder, env=ENV, user=user, log=folder / "log"))
        wait_for((folder / "ready").exists)
        return started[-1].pid

    yield receive_as
    for one in started:
        terminate_family(one, grace=0)


def free_port_outside_the_local_ones():
    local = socket_owner.read_local_ports()
    return next(port for port in iter(free_port, None) if port not in local)


def is_free(port):
    return not socket_owner.list_listeners(port)


def test_every_port_of_the_stack_has_a_rule(config):
    ports = {config.api_port, config.worker_port, config.web_port, config.router_port}
    ports |= {*config.colour_ports, config.gate_port, config.postgres_port, *config.redis_ports}
    for slot in config.slots:
        ports |= {slot.web_port, slot.backend_port, slot.redis_port, *slot.server_ports}
    ports |= {port for ones in config.server_ports.values() for port in ones}
    assert set(foreign_listeners.build_rules(config).allowed) == ports


@pytest.mark.root
def test_a_preview_that_listens_on_our_port_is_ended_and_does_not_come_back(config, listen_as):
    slot, user = config.slots[0], config.slot_user(config.slots[0])
    listen_as(user, config.api_port, "127.0.0.1", "127.0.0.9", "::1", again=True)
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert foreign.slot_id == slot.slot_id
    assert f":{config.api_port} and 2 more addresses" in foreign.text
    assert user.pids() == set()
    assert is_free(config.api_port)
    assert foreign_listeners.end_foreign_listeners(config) == []


@pytest.mark.root
def test_a_job_that_listens_on_our_port_is_ended_and_production_is_left(config, listen_as):
    pid = listen_as(config.job_user, config.gate_port, "::")
    own = listen_as(config.app_user, config.colour_ports[1], "127.0.0.1")
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert f"[::]:{config.gate_port}" in foreign.text
    assert (is_running(pid), is_running(own)) == (False, True)


@pytest.mark.root
@pytest.mark.parametrize("owner", ["", "app"])
def test_a_process_of_another_user_that_received_the_socket_is_left(
    config, listen_as, receive_as, owner
):
    receiver = receive_as(config.app_user if owner else None)
    pid = listen_as(config.job_user, config.gate_port, "::1", how="passed")
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert f"[::1]:{config.gate_port}" in foreign.text
    assert (is_running(pid), is_running(receiver)) == (False, True)


@pytest.mark.root
def test_a_preview_that_received_the_socket_of_another_is_ended_with_it(
    config, listen_as, receive_as
):
    first, second = (config.slot_user(slot) for slot in config.slots[:2])
    receive_as(second)
    listen_as(first, config.gate_port, "::1", how="passed")
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert (foreign.slot_id, foreign.is_ended) == (config.slots[0].slot_id, True)
    assert (first.pids(), second.pids()) == (set(), set())
    assert is_free(config.gate_port)


@pytest.mark.root
@pytest.mark.parametrize("word", ["passed", "sent"])
def test_the_next_run_of_a_slot_is_not_ended_for_a_socket_of_an_earlier_one(
    config, listen_as, receive_as, folder, word
):
    user = config.slot_user(config.slots[0])
    receive_as(None, *(["unread"] if word == "sent" else []))
    listen_as(user, config.gate_port, "::1", how=word)
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert (user.pids(), foreign.is_ended) == (set(), False)
    (folder / f"pids-{user.uid}").unlink()
    innocent = listen_as(user, free_port(), "127.0.0.1")
    [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert (foreign.is_ended, is_running(innocent)) == (False, True)


@pytest.mark.root
def test_a_unit_starts_without_an_end_of_production_that_connects_from_its_port(
    config, listen_as, monkeypatch
):
    port = free_port_outside_the_local_ones()
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: range(port, port + 1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = f"127.0.0.1@{server.getsockname()[1]}"
        pid = listen_as(config.app_user, port, peer, how="connected")
        foreign_listeners.clear_port(config, port)
        assert is_running(pid)


def test_without_users_of_applications_nothing_is_read(config, monkeypatch):
    monkeypatch.setattr(configuration.Config, "application_uids", frozenset())
    for name in ("read_local_ports", "count_sockets", "list_open_sockets"):
        monkeypatch.setattr(socket_owner, name, None)
    assert foreign_listeners.end_foreign_listeners(config) == []
    assert foreign_listeners.end_port_exhaustion(config) == []


@pytest.mark.root
@pytest.mark.parametrize(
    "word", [pytest.param("bound", marks=pytest.mark.bound_sockets), "connected"]
)
def test_a_preview_that_holds_our_port_without_listening_is_ended(config, listen_as, word):
    config = replace(config, api_port=free_port_outside_the_local_ones())
    slot, user = config.slots[0], config.slot_user(config.slots[0])
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = f"127.0.0.1@{server.getsockname()[1]}"
        listen_as(user, config.api_port, "127.0.0.1" if word == "bound" else peer, how=word)
        assert foreign_listeners.end_foreign_listeners(config, is_quick=True) == []
        [foreign] = foreign_listeners.end_foreign_listeners(config)
    assert foreign.slot_id == slot.slot_id
    assert f"had bound 127.0.0.1:{config.api_port}" in foreign.text
    assert user.pids() == set()


@pytest.mark.root
@pytest.mark.parametrize(
    ("protocol", "kind"), [(TCP, socket.SOCK_STREAM), (UDP, socket.SOCK_DGRAM)]
)
def test_a_preview_that_binds_all_local_ports_is_ended_and_production_is_not(
    config, hold_ports_as, folder, monkeypatch, protocol, kind
):
    ports = range(2_000, 2_100)
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: ports)
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {protocol: 51})
    monkeypatch.setattr(foreign_listeners, "PAUSE_SECONDS", 0.0)
    for user, has_ended in ((config.app_user, False), (config.slot_user(config.slots[1]), True)):
        hold_ports_as(user, kind, ports)
        (folder / "ready").unlink()
        ended = foreign_listeners.end_port_exhaustion(config)
        assert bool(ended) == has_ended
        assert bool(user.pids()) != has_ended
        user.kill_all()
    assert ended[0].slot_id == config.slots[1].slot_id
    assert f"so many local {protocol} ports" in ended[0].text


@pytest.mark.root
def test_a_job_that_binds_all_local_ports_is_ended(config, hold_ports_as, monkeypatch):
    ports = range(2_100, 2_200)
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: ports)
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {TCP: 51})
    hold_ports_as(config.job_user, socket.SOCK_STREAM, ports)
    # As a kernel that does not report sockets which are only bound.
    monkeypatch.setattr(socket_owner, "list_open_sockets", list)
    [job] = foreign_listeners.end_port_exhaustion(config)
    assert (job.slot_id, job.is_ended) == ("", True)
    assert wait_for(lambda: not config.job_user.pids())


@pytest.mark.root
@pytest.mark.parametrize("how", ["UDP", "reported"])
def test_a_job_is_not_ended_for_sockets_that_keep_no_tcp_port(
    config, hold_ports_as, monkeypatch, how
):
    ports = range(2_200, 2_300)
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: ports)
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {TCP: 51})
    hold_ports_as(config.job_user, socket.SOCK_DGRAM if how == "UDP" else socket.SOCK_STREAM, ports)
    # A kernel that reports sockets which are only bound reports all of them.
    bound = [] if how == "UDP" else [listener(ip_address("::1"), 1, 0, CLOSE)]
    monkeypatch.setattr(socket_owner, "list_open_sockets", lambda: bound)
    assert foreign_listeners.end_port_exhaustion(config) == []
    assert config.job_user.pids()


@pytest.mark.root
def test_connections_that_a_job_accepted_are_no_local_ports(config, folder, monkeypatch):
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {TCP: 51})
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: range(20_300, 20_400))
    user = replace(config.job_user, folders=None)
    folder.chmod(0o777)
    env = {**ENV, "PORT": str(free_port())}
    runner.spawn([sys.executable, "-c", ACCEPTOR], cwd=folder, env=env, user=user, log=folder / "l")
    wait_for((folder / "ready").exists)
    # As a kernel that does not report sockets which are only bound.
    every = socket_owner.list_open_sockets
    reported = lambda: [one for one in every() if one.state != CLOSE]  # noqa: E731
    monkeypatch.setattr(socket_owner, "list_open_sockets", reported)
    assert foreign_listeners.end_port_exhaustion(config) == []
    assert user.pids()


def test_nothing_is_looked_for_while_there_are_enough_local_ports(config, monkeypatch):
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: range(100))
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {TCP: 50, UDP: 50})
    monkeypatch.setattr(socket_owner, "list_open_sockets", None)
    assert foreign_listeners.end_port_exhaustion(config) == []


def test_sockets_of_others_are_looked_at_again_only_after_a_pause(config, monkeypatch):
    looks = []
    monkeypatch.setattr(configuration.Config, "application_uids", frozenset({7}))
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: range(100))
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: {UDP: 51})
    monkeypatch.setattr(socket_owner, "list_udp_sockets", lambda: looks.append(1) or [])
    monkeypatch.setattr(foreign_listeners, "PAUSE_SECONDS", 600.0)
    for _ in range(2):
        assert foreign_listeners.end_port_exhaustion(config) == []
    assert looks == [1]


def test_sockets_that_stay_are_looked_at_again_only_after_a_pause(config, monkeypatch):
    looks = []
    address = ip_address("127.0.0.1")
    stay = [replace(listener(address, port, UNUSED_UID), inode=0) for port in range(60)]
    monkeypatch.setattr(configuration.Config, "application_uids", frozenset({UNUSED_UID}))
    monkeypatch.setattr(socket_owner, "read_local_ports", lambda: range(100))
    monkeypatch.setattr(socket_owner, "count_sockets", lambda: looks.append(1) or {UDP: 60})
    monkeypatch.setattr(socket_owner, "list_udp_sockets", lambda: stay)
    monkeypatch.setattr(foreign_listeners, "PAUSE_SECONDS", 600.0)
    [entry] = foreign_listeners.end_port_exhaustion(config)
    assert not entry.is_ended
    assert foreign_listeners.end_port_exhaustion(config) == []
    assert looks == [1]


@pytest.mark.root
def test_a_dry_run_names_a_foreign_listener_and_leaves_it(config, listen_as):
    pid = listen_as(config.job_user, config.web_port, "::1")
    assert len(foreign_listeners.end_foreign_listeners(config, dry_run=True)) == 1
    assert is_running(pid)


def test_under_systemd_a_slots_units_are_stopped_and_a_job_is_only_named(config, monkeypatch):
    stopped, names = (
        [],
        ["preview@preview-1", "process-preview-1@worker", "process-preview-11@worker"],
    )
    users = {"preview-1": JobUser(7, 7, "preview-1"), "job": JobUser(8, 8)}
    found = [listener(ip_address("::1"), config.api_port, user.uid) for user in users.values()]
    stop = lambda manager, name: stopped.append(name) or found.clear() or True  # noqa: E731
    monkeypatch.setattr(configuration.jobs, "find_user", users.get)
    monkeypatch.setattr(socket_owner, "list_open_sockets", lambda: found)
    monkeypatch.setattr(SystemdManager, "list_names", lambda _: [f"ouroboros-{n}" for n in names])
    monkeypatch.setattr(SystemdManager, "stop", stop)
    monkeypatch.setattr(JobUser, "kill_all", lambda user: stop(None, f"jobs of {user.role}"))
    under_systemd = replace(config, is_systemd=True)
    planned = foreign_listeners.end_foreign_listeners(under_systemd, dry_run=True)
    assert ([one.is_ended for one in planned], stopped) == ([False, False], [])
    ended = foreign_listeners.end_foreign_listeners(under_systemd)
    assert [(one.slot_id, one.is_ended) for one in ended] == [("preview-1", True), ("", False)]
    units = {"ouroboros-preview@preview-1", "ouroboros-process-preview-1@worker"}
    assert {*stopped} == {*units, "jobs of preview-1"}


@pytest.mark.root
def test_a_unit_starts_although_applications_hold_its_port_on_other_addresses(
    config, listen_as, folder
):
    port = config.colour_ports[1]
    listen_as(config.slot_user(config.slots[1]), port, "::1", again=True)
    listen_as(config.app_user, port, "127.0.0.5")
    argv = (sys.executable, "-c", SERVER)
    unit = Unit("a", argv, folder, {**ENV, "PORT": str(port)}, None, folder / "a.log", port)
    manager = LocalManager(config)
    try:
        assert manager.start(unit).is_active
        assert wait_for(lambda: manager.status("a").listening == "ours")
    finally:
        manager.stop("a", grace=0)
