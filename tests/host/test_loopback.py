"""Our own services listen on both loopbacks, and on a host without IPv6 on 127.0.0.1."""

import socket
import sys
import threading
import urllib.request

import pytest

from host import loopback
from host.process import runner
from runs.lifecycle import supervisor
from slots.runtime import idle_page
from tests.environment import free_port
from tests.host.processes import wait_for

BOTH = ("127.0.0.1", "::1")


@pytest.fixture
def no_ipv6(monkeypatch):
    """Have the kernel refuse ::1, as it does where IPv6 is switched off."""

    class Socket(socket.socket):
        def bind(self, address):
            if self.family == socket.AF_INET6:
                raise OSError(99, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", Socket)


def fetch(address, port):
    url = f"http://{loopback.format_host(address)}:{port}/health"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def listens(address, port):
    try:
        socket.create_connection((address, port), 1).close()
    except OSError:
        return False
    return True


def test_both_loopbacks_are_listed_and_formatted():
    assert loopback.list_loopbacks() == BOTH
    assert loopback.format_hosts() == "127.0.0.1 [::1]"


def test_a_host_without_ipv6_has_one_loopback(no_ipv6):
    assert loopback.list_loopbacks() == ("127.0.0.1",)
    assert loopback.format_hosts() == "127.0.0.1"
    assert idle_page._listen_on_ipv6(free_port()) is None


def test_the_idle_page_answers_on_both_loopbacks(tmp_path):
    port = free_port()
    argv = [sys.executable, "-I", "-S", idle_page.__file__, "preview-1", str(port)]
    process = runner.spawn(argv, cwd=tmp_path, env={}, user=None, log=tmp_path / "log")
    try:
        for address in BOTH:
            wait_for(lambda address=address: listens(address, port))
            assert b"idle" in fetch(address, port)
    finally:
        runner.stop(process, grace=0)


def test_the_idle_page_does_not_start_while_another_program_has_the_other_loopback():
    port = free_port()
    with (
        socket.create_server(("::1", port), family=socket.AF_INET6),
        pytest.raises(OSError, match="in use"),
    ):
        idle_page._listen_on_ipv6(port)


def test_the_workers_health_is_served_on_both_loopbacks(monkeypatch):
    monkeypatch.setattr(supervisor.queue_health, "read_queue_health", lambda: {"status": "ok"})
    monkeypatch.setattr(supervisor.connections, "close_all", lambda: None)
    port = free_port()
    servers = supervisor._create_health_servers(port)
    try:
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        assert [fetch(address, port) for address in BOTH] == [b'{"status": "ok"}'] * 2
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
