"""Slot backends as real processes."""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import psutil
import pytest

from host.deadline import Deadline, wait_until
from host.errors import Refused
from host.files import log_files, ownership
from host.process import runner
from host.units import health, managers, unit
from slots.runtime import backend, backend_log, worktree
from slots.runtime import spec as specs
from slots.runtime.spec import Spec
from tests.host.processes import wait_for_another_start_time
from tests.slots.runtime.answering_backend import echo

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SERVE = """
import http.server, os, signal, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(os.environ["SAYS"].encode())
    def log_message(self, *args):
        pass
print("serving", flush=True)
"""
RUN = """
address = ("127.0.0.1", int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
FORKING = """
for _ in range(2):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"],
                             start_new_session=True)
    open(os.environ["PIDS"], "a").write(f"{child.pid}\\n")
"""


@pytest.fixture
def slot(config):
    """A slot whose processes all end with the test."""
    slot = config.slots[0]
    yield slot
    backend.stop(config, slot)


def write(config, slot, code, run="17", **changes):
    """Write a spec with which the slot runs this Python code."""
    worktree.prepare_folder(config, slot)
    tree = worktree.path(slot)
    tree.mkdir(exist_ok=True)
    (tree / "app.py").write_text(code)
    environment = {"PORT": str(slot.backend_port), "SAYS": "it works", "PATH": os.defpath}
    environment["PIDS"] = str(tree / "pids")
    ownership.give_tree(tree, config.slot_user(slot))
    argv = (sys.executable, "-u", "app.py")
    fields = {"run_id": run, "commit": COMMIT, "fence": 1, "argv": argv, "cwd": tree} | changes
    backend.write_spec(config, slot, Spec(**fields), environment)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def steady_soon(monkeypatch):
    """Have the wait for a backend end soon after its first wrong answer, however late that is."""
    monkeypatch.setattr(health, "STEADY_SECONDS", 0.2)


def wait_for_log(config, slot, text):
    """Wait until the log has that text: it is copied from a pipe, after the backend answers."""
    log = backend_log.path(config, slot)
    assert wait_until(lambda: log.read_text() == text, seconds=60, interval=0.01), log.read_text()


def test_backend_starts_is_healthy_and_stops(config, slot):
    write(config, slot, SERVE + RUN)
    started = backend.start(config, slot)
    assert (started.kind, started.health.ok, started.was_running) == ("run", True, False)
    assert started.health.body == b"it works"
    if config.is_root:
        assert psutil.Process(started.unit_status.pid).uids().real == config.slot_user(slot).uid
    stopped = backend.stop(config, slot)
    assert (stopped.kind, stopped.spec.wanted, stopped.matches_spec) == ("none", "down", True)
    assert not is_alive(started.unit_status.pid)
    again = backend.start(config, slot)
    assert (again.kind, again.spec.wanted, again.spec.run_id) == ("run", "up", "17")


def test_free_slot_runs_the_idle_page_after_stop_start_and_restart(config, slot):
    first = backend.restart(config, slot)
    assert (first.kind, first.health.ok) == ("idle", True)
    assert backend.start(config, slot).was_running
    assert backend.stop(config, slot).kind == "none"
    assert backend.start(config, slot).kind == "idle"
    second = backend.restart(config, slot)
    assert (second.kind, second.unit_status.pid != first.unit_status.pid) == ("idle", True)


def test_replace_with_idle_page_ends_the_run_and_deletes_its_password(config, slot):
    write(config, slot, SERVE + RUN)
    pid = backend.start(config, slot).unit_status.pid
    assert (slot.folder / "environment.json").stat().st_mode & 0o777 == 0o600
    for _ in range(2):
        found = backend.replace_with_idle_page(config, slot)
        assert (found.kind, found.health.ok, found.spec.run_id) == ("idle", True, None)
    assert not is_alive(pid)
    assert not (slot.folder / "environment.json").exists()
    assert not (slot.folder / "spec.json").exists()


def test_concurrent_starts_make_one_process_and_one_reports_that_it_was_running(config, slot):
    write(config, slot, SERVE + "import time; time.sleep(0.3)\n" + RUN)
    found = []
    starts = [
        threading.Thread(target=lambda: found.append(backend.start(config, slot))) for _ in "12"
    ]
    for thread in starts:
        thread.start()
    for thread in starts:
        thread.join()
    assert sorted(one.was_running for one in found) == [False, True]
    assert len({one.unit_status.pid for one in found}) == 1
    wait_for_log(config, slot, "serving\n")


def test_crash_on_start_is_reported_at_once_with_the_last_lines(config, slot, monkeypatch):
    monkeypatch.setattr(unit, "SETTLE_SECONDS", 60.0)
    write(config, slot, "print('before', flush=True)\nraise SystemExit('no such column: mood')\n")
    deadline = Deadline(50)
    with pytest.raises(Refused, match="no such column: mood") as refusal:
        backend.start(config, slot)
    assert refusal.value.code == "unit_crashed"
    assert not deadline.has_passed
    assert backend.status(config, slot).kind == "none"


def test_restart_of_broken_code_reports_its_error(config, slot):
    write(config, slot, SERVE + RUN)
    backend.start(config, slot)
    (worktree.path(slot) / "app.py").write_text("import nowhere_to_be_found\n")
    with pytest.raises(Refused, match="nowhere_to_be_found"):
        backend.restart(config, slot)
    assert not backend.health(config, slot).ok


def test_backend_that_is_never_healthy_is_stopped_again(config, slot, steady_soon):
    write(config, slot, SERVE + RUN, health_path="/nothing-here")
    with pytest.raises(Refused, match="answered 404") as refusal:
        backend.start(config, slot, seconds=60)
    assert refusal.value.code == "backend_unhealthy"
    assert backend.status(config, slot).kind == "none"


def test_start_of_an_unhealthy_backend_that_runs_already_leaves_it_running(
    config, slot, steady_soon
):
    write(config, slot, SERVE + RUN, health_path="/nothing-here")
    present = backend._build_unit(config, slot, specs.read(slot))
    pid = managers.get_manager(config).start(present).pid
    with pytest.raises(Refused, match="answered 404"):
        backend.start(config, slot, seconds=60)
    assert backend.status(config, slot).unit_status.pid == pid
    assert is_alive(pid)


def test_process_that_replaced_the_started_one_is_not_stopped_in_its_place(config, slot):
    write(config, slot, SERVE + RUN, health_path="/nothing-here")
    present = backend._build_unit(config, slot, specs.read(slot))
    manager, replaced = managers.get_manager(config), []

    def replace_process():
        if not replaced:
            manager.stop(present.name, grace=1)
            replaced.append(manager.start(present).pid)
        return True

    with pytest.raises(Refused):
        backend.start(config, slot, stop=replace_process)
    assert [backend.status(config, slot).unit_status.pid] == replaced
    assert is_alive(replaced[0])


def test_a_guessed_health_path_and_the_time_to_start_come_from_spec_and_settings(config, slot):
    write(config, slot, SERVE + RUN, health_path="/nothing-here", is_health_guess=True)
    assert backend.start(config, slot).health.reason == "/nothing-here answered 404."
    backend.stop(config, slot)
    write(config, slot, "import time; time.sleep(600)\n", is_health_guess=True)
    config.environ["PREVIEW_START_SECONDS"] = "1"
    deadline = Deadline(60)
    with pytest.raises(Refused, match="does not listen"):
        backend.start(config, slot)
    assert not deadline.has_passed


def test_stopped_start_leaves_nothing_running(config, slot):
    write(config, slot, "import time; time.sleep(600)\n")
    deadline = Deadline(60)
    with pytest.raises(Refused):
        backend.start(config, slot, stop=lambda: True)
    assert not deadline.has_passed
    assert backend.status(config, slot).kind == "none"


def test_foreign_listener_is_never_healthy_and_is_named(config, slot):
    with echo(slot.backend_port):
        found = backend.status(config, slot)
        assert (found.health.ok, found.unit_status.listening) == (False, "foreign")
        write(config, slot, SERVE + RUN)
        with pytest.raises(Refused) as refusal:
            backend.start(config, slot)
        assert refusal.value.code == "port_taken"
        assert "python" in refusal.value.detail
    backend.start(config, slot)


def test_backend_without_a_spec_is_not_healthy(config, slot):
    write(config, slot, SERVE + RUN)
    backend.start(config, slot)
    specs.delete(slot)
    found = backend.status(config, slot)
    assert (found.health.ok, found.matches_spec) == (False, False)
    assert backend.start(config, slot).kind == "idle"
    assert backend.health(config, slot).ok


def test_state_file_that_names_a_foreign_process_signals_no_process(config, slot):
    other = psutil.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        write(config, slot, SERVE + RUN)
        wait_for_another_start_time()
        pid = backend.start(config, slot).unit_status.pid
        state = config.var / "run" / f"{backend.unit_name(slot)}.json"
        state.write_text(state.read_text().replace(f'"pid": {pid}', f'"pid": {other.pid}'))
        assert backend.status(config, slot).kind == "none"
        backend.stop(config, slot)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.mark.parametrize("code", [STUBBORN, FORKING, STUBBORN + FORKING])
def test_all_processes_have_ended_after_a_stop(config, slot, code, monkeypatch):
    monkeypatch.setattr(backend, "STOP_SECONDS", 0.3)
    write(config, slot, SERVE + code + RUN)
    pids = [backend.start(config, slot).unit_status.pid]
    if "PIDS" in code:
        pids += map(int, (worktree.path(slot) / "pids").read_text().split())
    backend.stop(config, slot)
    assert [pid for pid in pids if is_alive(pid)] == []
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", slot.backend_port), 1)


ESCAPES = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(600)"], {})
    os._exit(0)
os.wait()
"""


@pytest.mark.root
def test_daemonized_process_has_ended_when_the_slot_is_idle(config, slot):
    write(config, slot, SERVE + ESCAPES + RUN)
    backend.start(config, slot)
    uid = config.slot_user(slot).uid
    backend.replace_with_idle_page(config, slot)
    found = psutil.process_iter(["uids"])
    left = [p.pid for p in found if p.info["uids"].real == uid and is_alive(p.pid)]
    assert left == [backend.status(config, slot).unit_status.pid]


def test_healthy_idle_page_is_kept(config, slot):
    pid = backend.replace_with_idle_page(config, slot).unit_status.pid
    assert backend.replace_with_idle_page(config, slot).unit_status.pid == pid


@pytest.mark.root
def test_process_beside_the_idle_page_is_ended(config, slot, tmp_path):
    first = backend.replace_with_idle_page(config, slot).unit_status.pid
    user = config.slot_user(slot)
    log = tmp_path / "other.log"
    other = runner.spawn(["sleep", "60"], cwd=Path("/"), env={}, user=user, log=log)
    try:
        assert wait_until(lambda: other.pid in user.pids(), seconds=60, interval=0.01)
        found = backend.replace_with_idle_page(config, slot)
        assert not other.is_alive()
    finally:
        runner.stop(other, grace=0)
    assert found.health.ok and found.unit_status.pid != first
    assert user.pids() == {found.unit_status.pid}


def test_killed_backend_is_noticed_and_can_be_started(config, slot):
    write(config, slot, SERVE + RUN)
    pid = backend.start(config, slot).unit_status.pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: backend.has_exited(config, slot), seconds=60, interval=0.01)
    assert not backend.status(config, slot).matches_spec
    assert backend.start(config, slot).unit_status.pid != pid


def test_log_is_linked_for_the_runbook_and_has_the_lines_of_one_run(config, slot):
    write(config, slot, SERVE + RUN)
    backend.start(config, slot)
    name, warning = backend_log.ensure_link(config, slot)
    wait_for_log(config, slot, "serving\n")
    assert (name.read_text(), warning) == ("serving\n", "")
    write(config, slot, SERVE.replace("serving", "another"), run="18")
    assert not backend_log.path(config, slot).exists()


def test_new_spec_of_the_same_run_keeps_its_log(config, slot):
    write(config, slot, SERVE + RUN)
    log = backend_log.path(config, slot)
    log.write_text("the lines before\n")
    write(config, slot, SERVE + RUN, commit=COMMIT[::-1], fence=2)
    assert log.read_text() == "the lines before\n"


def test_large_log_of_a_running_backend_is_emptied(config, slot, monkeypatch):
    write(config, slot, SERVE + RUN)
    backend.start(config, slot)
    wait_for_log(config, slot, "serving\n")
    assert not backend_log.trim(config, slot)
    monkeypatch.setattr(log_files, "LOG_BYTES", 3)
    log = backend_log.path(config, slot)
    assert backend_log.trim(config, slot)
    assert (log.read_text(), log.with_name("preview-1.log.1").read_text()) == ("", "ng\n")


def test_log_folder_of_another_user_is_not_used_and_reported(config, slot, tmp_path):
    folder = backend_log.links_folder(config)
    folder.mkdir()
    folder.chmod(0o777)
    name, warning = backend_log.ensure_link(config, slot)
    assert name == backend_log.path(config, slot)
    assert str(folder) in warning
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert backend_log.ensure_link(config, slot)[0] == backend_log.path(config, slot)
    assert Path(backend_log.LINKS_FOLDER).name == "oroboros-preview-backend"


def test_unreadable_spec_is_refused(config, slot):
    worktree.prepare_folder(config, slot)
    (slot.folder / "spec.json").write_text("{")
    with pytest.raises(Refused) as refusal:
        backend.status(config, slot)
    assert refusal.value.code == "spec_invalid"
    (slot.folder / "spec.json").unlink()
