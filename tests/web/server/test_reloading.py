"""A reload of the API loads code and settings anew in the same process, and loses no request."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from host.deadline import wait_until
from tests import service
from web.server import reloading

SECONDS = 60
ORIGINS = ["https://first.example.net", "https://second.example.net"]


def test_the_next_program_has_the_environment_of_the_start_and_what_is_passed():
    start = b"PATH=/bin\0EMPTY=\0LISTEN_FDS=1\0API_OLD_WORKERS=1 2\0"
    assert reloading.build_environment(start, 7, 2, {31: None, 32: None}) == {
        "PATH": "/bin",
        "EMPTY": "",
        "LISTEN_PID": "7",
        "LISTEN_FDS": "2",
        "API_OLD_WORKERS": "31 32",
    }


@pytest.mark.parametrize("others", [0, 5])
def test_the_next_program_has_each_socket_once(others):
    # Backwards, so that without other files a socket is copied to the number of another one.
    program = f"""
import os, socket, sys
from web.server import reloading
others = [os.open(os.devnull, os.O_RDONLY) for _ in range({others})]
kept = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
for one in kept:
    one.set_inheritable(True)
ports = [one.getsockname()[1] for one in kept][::-1]
reloading.pass_sockets([one.fileno() for one in kept][::-1])
show = "import os, socket; print([socket.socket(fileno=int(n)).getsockname()[1] for n in "
show += "sorted(os.listdir('/proc/self/fd'), key=int) if os.path.exists('/proc/self/fd/' + n)"
show += " and os.readlink('/proc/self/fd/' + n).startswith('socket')], flush=True); os._exit(0)"
print(ports, flush=True)
os.execv(sys.executable, [sys.executable, "-c", show])
"""
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    passed, received = done.stdout.splitlines()
    assert received == passed, done.stderr


def list_children(pid):
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def count_sockets(pid):
    links = [os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    return sum(link.startswith("socket:") for link in links)


def allows(port, origin):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    connection.request("OPTIONS", "/api/slots", headers=headers)
    return connection.getresponse().getheader("Access-Control-Allow-Origin") == origin


def ask(port, ended, lost):
    """Send requests, each over a connection of its own, until `ended`; note what fails."""
    while not ended.wait(0.01):
        try:
            with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                client.sendall(
                    b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                )
                if not client.recv(100).startswith(b"HTTP/1.1 200"):
                    lost.append("not 200")
        except OSError as error:
            lost.append(repr(error))


@pytest.mark.django_db(transaction=True)
def test_reloads_lose_no_request_and_read_the_settings_anew(tmp_path):
    ended, lost = threading.Event(), []
    folders = {"OROBOROS_ENV_DIR": str(tmp_path), "OROBOROS_VAR": str(tmp_path / "var")}
    with service.api_process(**folders) as (port, server):
        sockets = count_sockets(server.pid)
        clients = [threading.Thread(target=ask, args=(port, ended, lost)) for _ in range(2)]
        for client in clients:
            client.start()
        for origin in ORIGINS:
            assert not allows(port, origin)
            before = list_children(server.pid)
            (tmp_path / "api.env").write_text(f"CORS_APP_ORIGINS={origin}\n")
            (tmp_path / "api.env").chmod(0o600)
            server.send_signal(signal.SIGHUP)

            def are_replaced(before=before):
                now = list_children(server.pid)
                return len(now) == len(before) and not now & before

            assert wait_until(are_replaced, seconds=SECONDS, interval=0.05)
            assert allows(port, origin)
        ended.set()
        for client in clients:
            client.join(SECONDS)
        assert lost == []
        assert count_sockets(server.pid) == sockets
