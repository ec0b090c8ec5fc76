"""Units kept by real processes: one of a name, known by identity, alone on its port."""

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
from host.process.runner import Identity
from host.units import base as unit_module
from host.units import managers
from host.units.managers import Unit
from tests.environment import free_port
from tests.host.processes import lives, noted, until

CHECKOUT = Path(__file__).resolve().parents[2]
SERVER = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served")
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

# Lets others listen on its port beside it, as Caddy does.
SHARING = """
import os, socket, time
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
server.bind(("127.0.0.1", int(os.environ["PORT"])))
server.listen()
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch):
    monkeypatch.setattr(unit_module, "SETTLE_SECONDS", 0.3)


@pytest.fixture
def manager(tmp_path):
    manager = managers.LocalManager(config.load({"OROBOROS_VAR": str(tmp_path)}))
    yield manager
    for name in manager.names():
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


def refusal(call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    return found.value


def test_a_started_unit_runs_alone_on_its_port_until_it_is_stopped(manager, server):
    status = manager.start(server)
    assert status.active
    assert lives(status.pid)
    assert status.listening == "ours"
    assert manager.names() == ["a"]
    assert manager.stop("a")
    assert not lives(status.pid)
    assert manager.names() == []
    status = manager.status("a", server.port)
    assert (status.active, status.listening) == (False, "none")


def test_a_unit_is_found_and_stopped_by_another_process_after_its_starter_is_killed(
    manager, make, tmp_path
):
    script = (
        "import os; from pathlib import Path; from host import config, units\n"
        f"m = units.LocalManager(config.load({{'OROBOROS_VAR': {str(tmp_path)!r}}}))\n"
        "m.start(units.Unit('a', ('sleep', '60'), Path('/'), {'PATH': os.environ['PATH']}, None,"
        f" Path({str(tmp_path / 'a.log')!r})))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT)
    status = manager.status("a")
    assert status.active
    assert manager.stop("a")
    assert not lives(status.pid)


def test_a_unit_whose_starter_was_killed_before_it_noted_the_pid_is_ended(manager, make):
    unit = make("sleep", "60")
    pid = manager.start(unit).pid
    path = manager.folder / "a.json"
    state = json.loads(path.read_text())
    state["identity"].update(pid=0, started=0.0)  # as written before the start
    path.write_text(json.dumps(state))
    assert not manager.status("a").active
    assert manager.start(unit).pid != pid
    assert not lives(pid)


def test_a_second_start_finds_the_first_and_says_so(manager, server):
    first = manager.start(server)
    again = manager.start(server)
    assert (first.already, again.already) == (False, True)
    assert again.pid == first.pid


def test_many_starts_at_once_make_one_process(manager, server):
    found = []
    rivals = [
        threading.Thread(target=lambda: found.append(manager.start(server))) for _ in range(6)
    ]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    assert len({status.pid for status in found}) == 1
    assert sorted(status.already for status in found) == [False] + [True] * 5


def test_starts_of_two_processes_at_once_make_one_process(manager, make, tmp_path):
    script = (
        "import os; from pathlib import Path; from host import config, units\n"
        f"m = units.LocalManager(config.load({{'OROBOROS_VAR': {str(tmp_path)!r}}}))\n"
        "s = m.start(units.Unit('a', ('sleep', '60'), Path('/'), {'PATH': os.environ['PATH']},"
        f" None, Path({str(tmp_path / 'a.log')!r})))\n"
        "print(s.pid, s.already)"
    )
    rivals = [
        subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    (one, first), (other, second) = (rival.communicate()[0].split() for rival in rivals)
    assert one == other
    assert {first, second} == {b"True", b"False"}


def test_another_command_is_not_taken_for_the_one_that_runs(manager, server):
    pid = manager.start(server).pid
    for other in (
        replace(server, argv=("sleep", "60")),
        replace(server, env={**server.env, "PGPASSWORD": "new"}),
    ):
        assert refusal(manager.start, other).code == "unit_differs"
    assert lives(pid)


def test_a_crash_on_start_is_told_at_once_with_the_last_lines(manager, make):
    unit = make("sh", "-c", "seq 100; echo no such table >&2; exit 3", port=free_port())
    begun = time.monotonic()
    found = refusal(manager.start, unit)
    assert time.monotonic() - begun < 1
    assert found.code == "unit_crashed"
    assert "exit code 3" in found.detail
    assert found.detail.endswith("99\n100\nno such table")
    assert "\n80\n" not in found.detail


def test_a_crash_does_not_quote_an_earlier_life(manager, make):
    unit = make("sh", "-c", "exit 3")
    unit.log.parent.mkdir()
    unit.log.write_text("old news\n")
    assert refusal(manager.start, unit).detail == "a ended with exit code 3 and logged nothing."


def test_what_a_crash_leaves_behind_is_ended(manager, make, tmp_path):
    refusal(manager.start, make("sh", "-c", f"setsid sleep 60 & echo $! > {tmp_path}/pid; exit 1"))
    assert not lives(noted(tmp_path / "pid"))


def test_a_program_that_is_not_there_is_told_and_leaves_no_unit(manager, make):
    found = refusal(manager.start, make("no-such-program"))
    assert found.code == "unit_crashed"
    assert "no-such-program" in found.detail
    assert manager.names() == []


def test_a_death_is_noticed_with_its_last_lines(manager, make):
    unit = make("sh", "-c", "echo about to fail; read line < /dev/zero; exit 4")
    pid = manager.start(unit).pid
    os.kill(pid, 9)
    until(lambda: not manager.status("a").active)
    status = manager.status("a")
    assert status.exit_code == -9
    assert "about to fail" in status.last_words
    assert not managers.probe(status, 1, "/").ok


def test_a_start_after_a_death_ends_what_the_earlier_life_left(manager, make, tmp_path):
    script = f"setsid sleep 60 & echo $! > {tmp_path}/orphan; echo $$ > {tmp_path}/pid; wait"
    unit = make("sh", "-c", script)
    manager.start(unit)
    os.kill(noted(tmp_path / "pid"), 9)
    until(lambda: not manager.status("a").active)
    orphan = noted(tmp_path / "orphan")
    assert lives(orphan)
    assert not manager.start(unit).already
    assert not lives(orphan)


def test_a_unit_that_ignores_sigterm_and_forks_is_gone_after_stop(manager, make, tmp_path):
    script = (
        f"trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 60; sleep 60' & echo $! > {tmp_path}/a;"
        f" (sleep 60 & echo $! > {tmp_path}/b); sleep 60; sleep 60"
    )
    status = manager.start(make("sh", "-c", script))
    pids = [status.pid, noted(tmp_path / "a"), noted(tmp_path / "b")]
    begun = time.monotonic()
    assert manager.stop("a", grace=0.3)
    assert time.monotonic() - begun < 2
    assert [pid for pid in pids if lives(pid)] == []


@pytest.mark.parametrize("boot", ["this one", "another one"])
def test_a_state_file_that_names_a_foreign_process_harms_nobody(manager, make, tmp_path, boot):
    log = tmp_path / "stranger.log"
    env = {"PATH": os.environ["PATH"]}
    stranger = runner.spawn(["sleep", "60"], cwd=Path("/"), env=env, user=None, log=log)
    unit = make("sleep", "60")
    try:
        manager.start(unit)
        path = manager.folder / "a.json"
        state = json.loads(path.read_text())
        ours = Identity(**state["identity"])
        started = stranger.started - (1 if boot == "this one" else 0)
        state["identity"].update(pid=stranger.pid, started=started)
        state["boot"] = state["boot"] if boot == "this one" else "0000"
        path.write_text(json.dumps(state))
        assert not manager.status("a").active
        assert manager.stop("a", grace=0)
        assert runner.alive(stranger)
    finally:
        runner.stop(stranger, grace=0)
        runner.stop(ours, grace=0)


@pytest.mark.parametrize("content", ["", "1234", "{}", '{"pid": 1}', "not json", "[]"])
def test_a_state_file_we_did_not_write_names_nobody(manager, content):
    manager.folder.mkdir()
    (manager.folder / "a.json").write_text(content)
    assert not manager.status("a").active
    assert manager.stop("a")


class Stranger:
    """A server in this very process, which is no unit: it answers 200 to everything."""

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


def test_a_stranger_on_the_port_is_named_and_nothing_is_started(manager, server):
    with Stranger(server.port):
        found = refusal(manager.start, server)
        assert found.code == "port_taken"
        assert str(os.getpid()) in found.detail
        assert manager.names() == []


def test_a_stranger_that_answers_200_does_not_make_a_unit_healthy(manager, make):
    unit = make("sleep", "60", port=free_port())
    assert manager.start(unit).listening == "none"
    with Stranger(unit.port):
        status = manager.status("a")
        assert (status.active, status.listening) == (True, "foreign")
        health = managers.probe(status, unit.port, "/health")
        assert not health.ok
        assert str(os.getpid()) in health.reason
        assert manager.status("b", unit.port).listening == "foreign"


def test_a_stranger_beside_a_unit_on_one_port_is_found(manager, make):
    unit = make(sys.executable, "-c", SHARING, port=free_port())
    assert manager.start(unit).listening == "ours"
    with socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        second.bind(("127.0.0.1", unit.port))
        second.listen()
        assert manager.status("a").listening == "foreign"
    assert manager.status("a").listening == "ours"


def test_a_child_that_listens_makes_its_unit_listen(manager, make):
    script = 'python3=$1; shift; "$python3" -c "$@" & wait'
    unit = make("sh", "-c", script, "sh", sys.executable, SERVER, port=free_port())
    manager.start(unit)
    assert managers.wait_healthy(manager, unit, 5).ok


def test_waiting_for_health_ends_when_the_unit_does(manager, make):
    unit = make("sh", "-c", "sleep 0.6; echo gave up; exit 5", port=free_port())
    manager.start(unit)
    begun = time.monotonic()
    health = managers.wait_healthy(manager, unit, 30)
    assert time.monotonic() - begun < 5
    assert "exit code 5" in health.reason
    assert "gave up" in health.reason


def test_waiting_for_health_ends_in_time_and_when_it_is_told_to(manager, make):
    unit = make("sleep", "60", port=free_port())
    manager.start(unit)
    assert "does not listen" in managers.wait_healthy(manager, unit, 0.1).reason
    assert not managers.wait_healthy(manager, unit, 60, stop=lambda: True).ok


def test_the_log_is_rotated_at_a_start(manager, make):
    unit = make("sh", "-c", "echo new; exec sleep 60")
    unit.log.parent.mkdir()
    with unit.log.open("wb") as log:
        log.truncate(10 * 1024 * 1024 + 1)
    manager.start(unit)
    assert until(unit.log.read_text) == "new\n"
    assert unit.log.with_name("a.log.1").stat().st_size > 10 * 1024 * 1024


def test_the_state_file_is_ours_alone_and_holds_no_secret(manager, make):
    manager.start(make("sleep", "60", PGPASSWORD="today-only"))
    path = manager.folder / "a.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "today-only" not in path.read_text()


def test_a_start_waits_for_a_stop_and_says_so_when_it_takes_too_long(manager, make, monkeypatch):
    monkeypatch.setattr(unit_module, "LOCK_SECONDS", 0.1)
    with unit_module.locked(manager.folder, "a"):
        assert refusal(manager.start, make("sleep", "60")).code == "unit_busy"


@pytest.mark.root
def test_a_unit_runs_as_its_user_and_cannot_touch_its_log(manager, make):
    user = runner.User(61_990, 61_990)
    unit = replace(make("sh", "-c", "id -u; id -G; exec sleep 60"), user=user)
    status = manager.start(unit)
    assert process_table.uids(status.pid) == {61_990}
    assert unit.log.read_text().split() == ["61990", "61990"]
    assert (unit.log.stat().st_uid, unit.log.stat().st_mode & 0o022) == (0, 0)
