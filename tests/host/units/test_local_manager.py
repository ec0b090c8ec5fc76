"""Units as real processes: one per name, identified by its process, alone on its port."""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from host import config
from host.errors import Refused
from host.process import process_table, runner
from host.process.process_id import ProcessId
from host.units import unit as unit_module
from host.units.health import probe_unit, wait_until_healthy
from host.units.listeners import find_listener, find_open_addresses
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from tests.environment import free_port
from tests.host.processes import RESERVED_USER, is_running, wait_for, wait_for_pid

CHECKOUT = Path(__file__).resolve().parents[3]
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served")
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

# Lets other sockets listen on its port too, as Caddy does.
SHARING = """
import os, socket, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("127.0.0.1", int(os.environ["PORT"])))
server.listen()
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def settle_soon(monkeypatch):
    monkeypatch.setattr(unit_module, "SETTLE_SECONDS", 0.3)


@pytest.fixture
def manager(tmp_path):
    manager = LocalManager(config.load({"OROBOROS_VAR": str(tmp_path)}))
    yield manager
    for name in manager.list_names():
        manager.stop(name, grace=0)


@pytest.fixture
def make(tmp_path):
    def make(*argv, name="a", port=None, **env):
        env = {"PATH": os.environ["PATH"], **env}
        if port is not None:
            env["PORT"] = str(port)
        log = tmp_path / "log" / f"{name}.log"
        return Unit(name, argv, Path("/"), env, None, log, port)

    return make


@pytest.fixture
def server(make):
    return make(sys.executable, "-c", SERVER, port=free_port())


def get_refusal(call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    return found.value


@pytest.fixture
def settle_late(settle_soon, monkeypatch):
    """Give a start time to listen, or to fail: it returns as soon as the unit does so."""
    monkeypatch.setattr(unit_module, "SETTLE_SECONDS", 60)


def test_a_started_unit_runs_alone_on_its_port_until_it_is_stopped(manager, server, settle_late):
    status = manager.start(server)
    assert status.is_active
    assert is_running(status.pid)
    assert status.listening == "ours"
    assert manager.list_names() == ["a"]
    assert manager.stop("a")
    assert not is_running(status.pid)
    assert manager.list_names() == []
    status = manager.status("a", server.port)
    assert (status.is_active, status.listening) == (False, "none")


def test_a_unit_of_a_killed_process_is_found_and_stopped_by_another(manager, make, tmp_path):
    script = (
        "import os; from pathlib import Path; from host import config\n"
        "from host.units.local_manager import LocalManager; from host.units.unit import Unit\n"
        f"m = LocalManager(config.load({{'OROBOROS_VAR': {str(tmp_path)!r}}}))\n"
        "m.start(Unit('a', ('sleep', '60'), Path('/'), {'PATH': os.environ['PATH']}, None,"
        f" Path({str(tmp_path / 'a.log')!r})))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT)
    status = manager.status("a")
    assert status.is_active
    assert manager.stop("a")
    assert not is_running(status.pid)


def test_a_start_that_was_killed_before_it_wrote_the_pid_is_repeated(manager, make):
    unit = make("sleep", "60")
    pid = manager.start(unit).pid
    path = manager.folder / "a.json"
    state = json.loads(path.read_text())
    state["process_id"].update(pid=0, start_time=0.0)  # as written before the start
    path.write_text(json.dumps(state))
    assert not manager.status("a").is_active
    assert manager.start(unit).pid != pid
    assert not is_running(pid)


def test_a_second_start_reports_that_the_unit_was_running(manager, server):
    first = manager.start(server)
    again = manager.start(server)
    assert (first.was_running, again.was_running) == (False, True)
    assert again.pid == first.pid


def test_concurrent_starts_of_threads_start_one_process(manager, server):
    found = []
    rivals = [
        threading.Thread(target=lambda: found.append(manager.start(server))) for _ in range(6)
    ]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert len({status.pid for status in found}) == 1
    assert sorted(status.was_running for status in found) == [False] + [True] * 5


def test_concurrent_starts_of_processes_start_one_process(manager, make, tmp_path):
    script = (
        "import os; from pathlib import Path; from host import config\n"
        "from host.units.local_manager import LocalManager; from host.units.unit import Unit\n"
        f"m = LocalManager(config.load({{'OROBOROS_VAR': {str(tmp_path)!r}}}))\n"
        "s = m.start(Unit('a', ('sleep', '60'), Path('/'), {'PATH': os.environ['PATH']},"
        f" None, Path({str(tmp_path / 'a.log')!r})))\n"
        "print(s.pid, s.was_running)"
    )
    rivals = [
        subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    (one, first), (other, second) = (rival.communicate()[0].split() for rival in rivals)
    assert one == other
    assert {first, second} == {b"True", b"False"}


def test_starting_another_command_or_environment_is_refused(manager, server):
    pid = manager.start(server).pid
    for other in (
        replace(server, argv=("sleep", "60")),
        replace(server, env={**server.env, "PGPASSWORD": "new"}),
    ):
        assert get_refusal(manager.start, other).code == "unit_differs"
    assert is_running(pid)


@pytest.mark.alone
def test_a_crash_at_start_is_refused_with_the_last_log_lines(manager, make, settle_late):
    unit = make("sh", "-c", "seq 100; echo no such table >&2; exit 3", port=free_port())
    begun = time.monotonic()
    found = get_refusal(manager.start, unit)
    assert time.monotonic() - begun < 50
    assert found.code == "unit_crashed"
    assert "exit code 3" in found.detail
    assert found.detail.endswith("99\n100\nno such table")
    assert "\n80\n" not in found.detail


def test_a_crash_does_not_quote_lines_from_before_the_start(manager, make, settle_late):
    unit = make("sh", "-c", "exit 3")
    unit.log.parent.mkdir()
    unit.log.write_text("an older line\n")
    assert get_refusal(manager.start, unit).detail == "a ended with exit code 3 and logged nothing."


def test_children_of_a_crashed_unit_are_ended(manager, make, settle_late, tmp_path):
    get_refusal(
        manager.start, make("sh", "-c", f"setsid sleep 60 & echo $! > {tmp_path}/pid; exit 1")
    )
    assert not is_running(wait_for_pid(tmp_path / "pid"))


def test_an_unknown_program_is_refused_and_leaves_no_unit(manager, make):
    found = get_refusal(manager.start, make("no-such-program"))
    assert found.code == "unit_crashed"
    assert "no-such-program" in found.detail
    assert manager.list_names() == []


def test_a_killed_unit_has_its_exit_code_and_last_log_lines(manager, make):
    unit = make("sh", "-c", "echo about to fail; read line < /dev/zero; exit 4")
    pid = manager.start(unit).pid
    wait_for(lambda: "about to fail" in unit.log.read_text())
    os.kill(pid, 9)
    wait_for(lambda: not manager.status("a").is_active)
    status = manager.status("a")
    assert status.exit_code == -9
    assert "about to fail" in status.failure
    assert not probe_unit(status, 1, "/").ok


def test_a_start_ends_the_previous_processes_of_a_dead_unit(manager, make, tmp_path):
    script = f"setsid sleep 60 & echo $! > {tmp_path}/orphan; echo $$ > {tmp_path}/pid; wait"
    unit = make("sh", "-c", script)
    manager.start(unit)
    os.kill(wait_for_pid(tmp_path / "pid"), 9)
    wait_for(lambda: not manager.status("a").is_active)
    orphan = wait_for_pid(tmp_path / "orphan")
    assert is_running(orphan)
    assert not manager.start(unit).was_running
    assert not is_running(orphan)


@pytest.mark.alone
def test_stop_ends_a_unit_that_ignores_sigterm_and_forks(manager, make, tmp_path):
    script = (
        f"trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 60; sleep 60' & echo $! > {tmp_path}/a;"
        f" (sleep 60 & echo $! > {tmp_path}/b); sleep 60; sleep 60"
    )
    status = manager.start(make("sh", "-c", script))
    pids = [status.pid, wait_for_pid(tmp_path / "a"), wait_for_pid(tmp_path / "b")]
    begun = time.monotonic()
    assert manager.stop("a", grace=0.3)
    assert time.monotonic() - begun < 50
    assert [pid for pid in pids if is_running(pid)] == []


# One process: a shell goes on when its `sleep` is killed a moment before it.
ENDS_LATE = """
import pathlib, signal, sys, time

def end(*_):
    time.sleep(9)
    pathlib.Path(sys.argv[1]).touch()
    sys.exit()

signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    time.sleep(60)
"""


def test_a_unit_has_its_own_time_to_end_after_sigterm(manager, make, tmp_path):
    unit = replace(make(sys.executable, "-c", ENDS_LATE, str(tmp_path / "ended")), stop_timeout=0.1)
    manager.start(unit)
    assert wait_for(lambda: "ready" in unit.log.read_text())
    assert manager.stop("a")  # by default it would have 10 s
    assert not (tmp_path / "ended").exists()


def test_stop_leaves_a_units_children_to_the_unit_that_ends_them(manager, make):
    child = "trap 'echo child' TERM; echo ready; while :; do sleep 0.02; done"
    script = f"trap 'echo leader; exit' TERM; ({child}) & while :; do sleep 0.02; done"
    unit = replace(make("sh", "-c", script), ends_its_children=True)
    manager.start(unit)
    assert wait_for(lambda: "ready" in unit.log.read_text())
    assert manager.stop("a", grace=60)
    told = unit.log.read_text().splitlines()
    assert told[:2] == ["ready", "leader"]
    # A shell whose `sleep` is killed a moment before it says so on its way out.
    assert "child" not in told


@pytest.mark.parametrize("boot", ["this one", "another one"])
def test_a_foreign_process_in_a_state_file_is_not_signalled(manager, make, tmp_path, boot):
    log = tmp_path / "foreign.log"
    env = {"PATH": os.environ["PATH"]}
    foreign = runner.spawn(["sleep", "60"], cwd=Path("/"), env=env, user=None, log=log)
    unit = make("sleep", "60")
    try:
        manager.start(unit)
        path = manager.folder / "a.json"
        state = json.loads(path.read_text())
        ours = ProcessId(**state["process_id"])
        started = foreign.start_time - (1 if boot == "this one" else 0)
        state["process_id"].update(pid=foreign.pid, start_time=started)
        state["boot"] = state["boot"] if boot == "this one" else "0000"
        path.write_text(json.dumps(state))
        assert not manager.status("a").is_active
        assert manager.stop("a", grace=0)
        assert foreign.is_alive()
    finally:
        runner.stop(foreign, grace=0)
        runner.stop(ours, grace=0)


@pytest.mark.parametrize("content", ["", "1234", "{}", '{"pid": 1}', "not json", "[]"])
def test_an_invalid_state_file_means_a_stopped_unit(manager, content):
    manager.folder.mkdir()
    (manager.folder / "a.json").write_text(content)
    assert not manager.status("a").is_active
    assert manager.stop("a")


class ForeignServer:
    """A server in this process, which is not a unit: it answers 200 to every request."""

    def __init__(self, port):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.02,)).start()

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_a_foreign_listener_is_named_and_nothing_is_started(manager, server):
    with ForeignServer(server.port):
        found = get_refusal(manager.start, server)
        assert found.code == "port_taken"
        assert str(os.getpid()) in found.detail
        assert manager.list_names() == []


def test_a_foreign_listener_that_answers_200_does_not_make_a_unit_healthy(manager, make):
    unit = make("sleep", "60", port=free_port())
    assert manager.start(unit).listening == "none"
    with ForeignServer(unit.port):
        status = manager.status("a")
        assert (status.is_active, status.listening) == (True, "foreign")
        health = probe_unit(status, unit.port, "/health")
        assert not health.ok
        assert str(os.getpid()) in health.reason
        assert manager.status("b", unit.port).listening == "foreign"


def test_a_foreign_listener_beside_a_unit_is_found(manager, make, settle_late):
    unit = make(sys.executable, "-c", SHARING, port=free_port())
    assert manager.start(unit).listening == "ours"
    with socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(("127.0.0.1", unit.port))
        second.listen()
        assert manager.status("a").listening == "foreign"
    assert manager.status("a").listening == "ours"


WORKERS = """
import os, socket, time
for _ in range(3):
    if os.fork() == 0:
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((os.environ["BIND"], int(os.environ["PORT"])))
        server.listen()
        time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_unit_of_workers_that_share_the_port_has_it_alone(manager, make, settle_late, address):
    unit = make(sys.executable, "-c", WORKERS, port=free_port(), BIND=address)
    assert manager.start(unit).listening == "ours"
    assert wait_for(lambda: len(manager.list_listeners("a")) == 3)
    assert manager.status("a").listening == "ours"
    expected = [f"0.0.0.0:{unit.port}"] if address == "0.0.0.0" else []
    assert find_open_addresses(manager.list_listeners("a")) == expected


ELSEWHERE = """
import os, socket, time
address = os.environ["BIND"], int(os.environ["OWN"])
server = socket.create_server(address, family=int(os.environ["FAMILY"]))
time.sleep(60)
"""


UNIX = """
import os, socket, time
server = socket.socket(socket.AF_UNIX)
server.bind(os.environ["BIND"])
server.listen()
time.sleep(60)
"""


def test_a_unit_that_listens_on_a_unix_socket_is_told_so(manager, make, tmp_path):
    unit = make(sys.executable, "-c", UNIX, port=free_port(), BIND=str(tmp_path / "a b.sock"))
    manager.start(unit)
    assert wait_for(lambda: manager.list_unix_listeners("a"))
    health = wait_until_healthy(manager, unit, 0.1)
    assert f"It listens on the Unix socket {tmp_path}/a b.sock: it must listen on" in health.reason


IPV6_ONLY = """
import os, socket, time
server = socket.socket(socket.AF_INET6)
server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
server.bind(("::", int(os.environ["PORT"])))
server.listen()
time.sleep(60)
"""


def test_a_unit_that_takes_connections_of_ipv6_only_is_told_so(manager, make):
    unit = make(sys.executable, "-c", IPV6_ONLY, port=free_port())
    manager.start(unit)
    assert wait_for(lambda: manager.list_listeners("a"))
    health = wait_until_healthy(manager, unit, 0.1)
    assert not health.ok
    assert f"It listens on [::]:{unit.port}: it must listen on 127.0.0.1" in health.reason


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_a_unit_that_listens_elsewhere_is_unhealthy_and_the_reason_says_where(
    manager, make, address
):
    port = free_port()
    own = port if address == "::1" else free_port()
    family = str(int(socket.AF_INET6 if address == "::1" else socket.AF_INET))
    unit = make(
        sys.executable, "-c", ELSEWHERE, port=port, BIND=address, OWN=str(own), FAMILY=family
    )
    manager.start(unit)
    assert wait_for(lambda: manager.list_listeners("a"))
    health = wait_until_healthy(manager, unit, 0.1)
    expected = f"[::1]:{own}" if address == "::1" else f"127.0.0.1:{own}"
    assert not health.ok
    assert f"It listens on {expected}: it must listen on 127.0.0.1" in health.reason
    assert f"({port})" in health.reason


DAEMON = """
import os, socket, time
server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
if os.fork():
    while not os.path.exists(os.environ["MAY_END"]):
        time.sleep(0.01)
    os._exit(0)
os.setsid()
time.sleep(60)
"""


def test_a_unit_that_becomes_a_daemon_is_told_with_its_process_and_port(
    manager, make, settle_late, tmp_path
):
    may_end = tmp_path / "may-end"
    unit = make(sys.executable, "-c", DAEMON, port=free_port(), MAY_END=str(may_end))
    manager.start(unit)
    may_end.touch()
    assert wait_for(lambda: not manager.status("a").is_active)
    failure = manager.status("a").failure
    assert "went into the background" in failure
    assert f"listening on 127.0.0.1:{unit.port}" in failure
    manager.stop("a")
    assert find_listener(unit.port, lambda _: False)[0] == "none"


def test_a_unit_whose_child_listens_is_healthy(manager, make):
    script = 'python3=$1; shift; "$python3" -c "$@" & wait'
    unit = make("sh", "-c", script, "sh", sys.executable, SERVER, port=free_port())
    manager.start(unit)
    assert wait_until_healthy(manager, unit, 60).ok


def test_waiting_for_health_ends_when_the_unit_ends(manager, make, tmp_path):
    script = f"while ! test -e {tmp_path}/may-end; do sleep 0.01; done; echo gave up; exit 5"
    unit = make("sh", "-c", script, port=free_port())
    manager.start(unit)
    asked = []

    def let_it_end():  # called after the first probe, so that the wait has begun
        asked.append((tmp_path / "may-end").touch())

    begun = time.monotonic()
    health = wait_until_healthy(manager, unit, 300, stop=let_it_end)
    assert time.monotonic() - begun < 100
    assert asked
    assert "exit code 5" in health.reason
    assert "gave up" in health.reason


def test_waiting_for_health_ends_at_the_deadline_and_when_stop_returns_true(manager, make):
    unit = make("sleep", "60", port=free_port())
    manager.start(unit)
    assert "does not listen" in wait_until_healthy(manager, unit, 0.1).reason
    assert not wait_until_healthy(manager, unit, 60, stop=lambda: True).ok


def test_a_start_rotates_a_large_log(manager, make):
    unit = make("sh", "-c", "echo new; exec sleep 60")
    unit.log.parent.mkdir()
    with unit.log.open("wb") as log:
        log.truncate(10 * 1024 * 1024 + 1)
    manager.start(unit)
    assert wait_for(unit.log.read_text) == "new\n"
    assert unit.log.with_name("a.log.1").stat().st_size > 10 * 1024 * 1024


def test_the_state_file_has_mode_0600_and_no_secrets(manager, make):
    manager.start(make("sleep", "60", PGPASSWORD="today-only"))
    path = manager.folder / "a.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "today-only" not in path.read_text()


def test_a_start_during_a_long_stop_is_refused_as_busy(manager, make, monkeypatch):
    monkeypatch.setattr(unit_module, "LOCK_SECONDS", 0.1)
    with unit_module.unit_lock(manager.folder, "a"):
        assert get_refusal(manager.start, make("sleep", "60")).code == "unit_busy"


@pytest.mark.root
def test_a_unit_runs_as_its_user_and_does_not_own_its_log(manager, make):
    uid = RESERVED_USER.uid
    unit = replace(make("sh", "-c", "id -u; id -G; exec sleep 60"), user=RESERVED_USER)
    status = manager.start(unit)
    wait_for(lambda: unit.log.read_text().split() == [str(uid)] * 2)
    assert process_table.read_uids(status.pid) == {uid}
    found = unit.log.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, uid, 0o660)


REOPENS = ["> /dev/stdout", ">> /dev/stdout", "> /proc/self/fd/2", "1<> /dev/stderr"]


@pytest.mark.parametrize("redirect", REOPENS)
def test_an_application_that_opens_its_output_again_does_not_empty_its_log(
    manager, make, settle_late, redirect
):
    unit = replace(
        make("sh", "-c", f"echo first; echo second {redirect}; exit 3"), has_log_writer=True
    )
    unit.log.parent.mkdir()
    unit.log.write_text("of an earlier start\n")
    found = get_refusal(manager.start, unit)
    assert unit.log.read_text() == "of an earlier start\nfirst\nsecond\n"
    assert found.detail.endswith(":\nfirst\nsecond")


def test_what_is_logged_during_a_stop_is_in_the_log_and_its_writer_ends(manager, make):
    script = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopping'))\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    unit = replace(make(sys.executable, "-c", script), has_log_writer=True)
    manager.start(unit)
    writer = json.loads((manager.folder / "a.json").read_text())["log_writer"]["pid"]
    wait_for(lambda: unit.log.read_text() == "ready\n")
    assert manager.stop("a")
    assert unit.log.read_text() == "ready\nstopping\n"
    assert not is_running(writer)


def test_an_application_runs_on_when_its_log_cannot_be_written(manager, make, tmp_path):
    unit = make("sh", "-c", f"while echo line; do echo >> {tmp_path}/lines; sleep 0.01; done")
    unit = replace(unit, has_log_writer=True, log=Path("/dev/full"))
    pid = manager.start(unit).pid
    wait_for(lambda: (tmp_path / "lines").stat().st_size > 50)
    assert is_running(pid)
