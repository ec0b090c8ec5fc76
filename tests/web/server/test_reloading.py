"""A reload of the API loads code and settings anew in the same process, and loses no request."""

import http.client
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from host.deadline import wait_until
from tests import service
from web.server import reloading

SECONDS = 60
WORKERS = 2


def test_the_next_program_has_the_environment_of_the_start_and_what_is_passed():
    start = b"PATH=/bin\0EMPTY=\0LISTEN_FDS=1\0API_OLD_WORKERS=1 2\0"
    assert reloading.build_environment(start, 7, 2, [31, 32]) == {
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
    count = 0
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            count += os.readlink(file).startswith("socket:")
    return count


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


def change_files(folder, name):
    """Change a setting, the configuration of gunicorn and a module that it imports."""
    (folder / "api.env").write_text(f"CORS_APP_ORIGINS=https://{name}.example.net\n")
    (folder / "api.env").chmod(0o600)
    (folder / "imported_names.py").write_text(f"{name} = 1\n")
    text = service.GUNICORN_CONFIG.read_text()
    (folder / "gunicorn.conf.py").write_text(f"{text}\nfrom imported_names import {name}\n")


@contextmanager
def api_process(folder):
    change_files(folder, "zero")
    folders = {"OROBOROS_ENV_DIR": folder, "OROBOROS_VAR": folder / "var", "PYTHONPATH": folder}
    environ = {name: str(path) for name, path in folders.items()}
    with service.api_process(folder / "gunicorn.conf.py", **environ) as (port, server):
        yield port, server


def get_old_workers(server):
    lines = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    return [line for line in lines if line.startswith(b"API_OLD_WORKERS=")]


def get_blocked_signals(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nSigBlk:")[2].split(maxsplit=1)[0], 16)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "names", [("first",), pytest.param(("first", "second"), marks=pytest.mark.full)]
)
def test_reloads_lose_no_request_and_read_the_files_anew(tmp_path, names):
    ended, lost = threading.Event(), []
    with api_process(tmp_path) as (port, server):
        sockets = count_sockets(server.pid)
        clients = [threading.Thread(target=ask, args=(port, ended, lost)) for _ in range(2)]
        for client in clients:
            client.start()
        for name in names:
            origin = f"https://{name}.example.net"
            assert not allows(port, origin)
            before = list_children(server.pid)
            change_files(tmp_path, name)
            server.send_signal(signal.SIGHUP)

            def are_replaced(before=before):
                now = list_children(server.pid)
                return len(now) == WORKERS and not now & before

            assert wait_until(are_replaced, seconds=SECONDS, interval=0.05)
            assert allows(port, origin)
        ended.set()
        for client in clients:
            client.join(SECONDS)
        assert lost == []
        assert wait_until(lambda: count_sockets(server.pid) == sockets, seconds=SECONDS)


@pytest.mark.django_db(transaction=True)
def test_a_reload_that_is_asked_for_during_another_follows_it(tmp_path):
    with api_process(tmp_path) as (port, server):
        change_files(tmp_path, "first")
        server.send_signal(signal.SIGHUP)
        assert wait_until(lambda: get_old_workers(server), seconds=SECONDS, interval=0.02)
        first = get_old_workers(server)
        change_files(tmp_path, "second")
        server.send_signal(signal.SIGHUP)

        def has_followed():
            now = list_children(server.pid)
            return get_old_workers(server) != first and len(now) == WORKERS

        assert wait_until(has_followed, seconds=SECONDS, interval=0.05)
        assert wait_until(
            lambda: allows(port, "https://second.example.net"), seconds=SECONDS, interval=0.05
        )

        # The workers of the first reload may have read the second settings already.
        def is_nothing_blocked():
            try:
                processes = [server.pid, *list_children(server.pid)]
                return not any(get_blocked_signals(pid) for pid in processes)
            except FileNotFoundError:  # an old worker has just ended
                return False

        assert wait_until(is_nothing_blocked, seconds=SECONDS, interval=0.05)


def test_a_stop_after_a_reload_in_the_queue_comes_first():
    reloads = reloading.Reloads(build_server(), [])
    reloads.server.SIG_QUEUE.put(signal.SIGTERM)
    reloads.want()
    reloads.work()  # and this process is not replaced
    assert reloads.server.SIG_QUEUE.get_nowait() == signal.SIGTERM
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, []) & set(reloading.SIGNALS)


def test_an_old_worker_that_hangs_is_killed():
    ignore = "trap '' TERM; echo; exec sleep 600"
    worker = subprocess.Popen(["/bin/sh", "-c", ignore], stdout=subprocess.PIPE)
    worker.stdout.readline()
    worker.terminate()
    early = reloading.Reloads(build_server(), [worker.pid])
    early.work()
    assert early.old_workers == [worker.pid]
    late = reloading.Reloads(build_server(-reloading.HANG_SECONDS), [worker.pid])
    late.work()
    assert worker.wait(SECONDS) == -signal.SIGKILL
    late.work()
    assert late.old_workers == []


def build_server(graceful_timeout=600):
    return SimpleNamespace(
        cfg=SimpleNamespace(graceful_timeout=graceful_timeout),
        SIG_QUEUE=queue.SimpleQueue(),
        murder_workers=lambda: None,
    )
