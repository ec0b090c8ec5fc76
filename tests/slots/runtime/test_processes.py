"""Background processes of a slot: started, watched and stopped with its backend, logged apart."""

import os
import signal
import sys

import pytest

from host import http_client
from host.deadline import wait_until
from host.errors import Refused
from host.units import managers
from slots.runtime import __main__ as commands
from slots.runtime import backend, backend_log, processes, worktree
from slots.runtime.spec import ProcessSpec
from tests.slots.runtime.test_backend import RUN, SERVE, is_alive, slot, steady_soon, write

__all__ = ["slot", "steady_soon"]

WORK = """
import os, signal, sys, time
def end(*_):
    print("ended in order", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print(os.environ["OROBOROS_PROCESS"], os.environ.get("PORT"), os.environ["SAYS"], flush=True)
while True:
    time.sleep(60)
"""
FAIL = "raise SystemExit('no queue at all')\n"


@pytest.fixture(autouse=True)
def settle_quickly(monkeypatch):
    """Wait only a little for processes that do not end."""
    monkeypatch.setattr(processes, "SETTLE_SECONDS", 0.1)


def write_processes(config, slot, run="17", **codes):
    """Write a spec with a backend and these background processes, each with its Python code."""
    tree = worktree.path(slot)
    specs = tuple(
        ProcessSpec(name.replace("_", "."), (sys.executable, "-u", f"{name}.py"), tree)
        for name in codes
    )
    write(config, slot, SERVE + RUN, run=run, processes=specs)
    for name, code in codes.items():
        (tree / f"{name}.py").write_text(code)


def read_log(config, slot, name):
    return backend_log.path(config, slot, name).read_text()


def wait_for_work(config, slot, name):
    """Wait until the process has written its line, so that it has set its signal handler too."""
    log = backend_log.path(config, slot, name)
    assert wait_until(lambda: log.exists() and "works" in log.read_text(), seconds=60)


def find_pids(status):
    return {one.name: one.unit_status.pid for one in status.all_processes}


def test_processes_start_and_stop_with_the_backend_and_are_logged_apart(config, slot):
    write_processes(config, slot, worker=WORK, worker_2=WORK)
    started = backend.start(config, slot)
    assert [one.name for one in started.all_processes] == ["web", "worker", "worker.2"]
    assert started.matches_spec
    assert backend.start(config, slot).was_running
    pids = find_pids(backend.status(config, slot))
    assert pids == find_pids(started)
    for name in ("worker", "worker.2"):
        wait_for_work(config, slot, name)
    stopped = backend.stop(config, slot)
    assert stopped.matches_spec and not any(map(is_alive, pids.values()))
    assert read_log(config, slot, "worker") == "worker None it works\nended in order\n"
    assert read_log(config, slot, "worker.2") == "worker.2 None it works\nended in order\n"
    assert backend_log.path(config, slot).read_text() == "serving\n"


def test_a_killed_process_is_noticed_and_started_again_alone(config, slot):
    write_processes(config, slot, worker=WORK, clock=WORK)
    before = find_pids(backend.start(config, slot))
    os.kill(before["worker"], signal.SIGKILL)
    assert wait_until(lambda: backend.has_exited(config, slot), seconds=60, interval=0.01)
    found = backend.status(config, slot)
    assert not found.matches_spec and found.health.ok
    assert [one.name for one in found.ended_processes] == ["worker"]
    after = find_pids(backend.revive(config, slot, seconds=60))
    assert after.pop("worker") != before.pop("worker")
    assert after == before


def test_a_process_that_ends_at_its_start_refuses_it_with_its_name_and_last_lines(
    config, slot, monkeypatch
):
    monkeypatch.setattr(processes, "SETTLE_SECONDS", 30.0)
    write_processes(config, slot, worker=WORK, clock=FAIL)
    with pytest.raises(Refused, match=r"process clock of preview-1 ended") as caught:
        backend.start(config, slot)
    assert caught.value.code == "process_died"
    assert "no queue at all" in caught.value.detail


def test_a_backend_that_ends_while_the_others_settle_is_refused_with_the_reason(
    config, slot, monkeypatch
):
    def end_web(*_):
        name = backend.unit_name(slot)
        os.kill(managers.get_manager(config).status(name).pid, signal.SIGTERM)
        has_ended = lambda: not managers.get_manager(config).status(name).is_active  # noqa: E731
        assert wait_until(has_ended, seconds=60)

    monkeypatch.setattr(backend.processes, "wait_until_settled", end_web)
    write_processes(config, slot, worker=WORK)
    with pytest.raises(Refused, match=r"ended with signal 15 \(SIGTERM\)") as caught:
        backend.start(config, slot)
    assert caught.value.code == "backend_unhealthy"


def test_a_backend_that_does_not_start_leaves_no_process(config, slot):
    write_processes(config, slot, worker=WORK)
    (worktree.path(slot) / "app.py").write_text("raise SystemExit(1)\n")
    with pytest.raises(Refused):
        backend.start(config, slot, seconds=60)
    backend.stop(config, slot)
    assert not any(one.is_active for one in backend.list_processes(config, slot))


@pytest.mark.full
def test_one_process_is_restarted_by_its_name(config, slot):
    write_processes(config, slot, worker=WORK)
    before = find_pids(backend.start(config, slot))
    after = find_pids(backend.restart(config, slot, "worker", seconds=60))
    assert (after["web"], after["worker"] != before["worker"]) == (before["web"], True)
    again = find_pids(backend.restart(config, slot, "web", seconds=60))
    assert (again["worker"], again["web"] != after["web"]) == (after["worker"], True)
    backend.stop(config, slot)
    with pytest.raises(Refused, match="it has web, worker") as caught:
        backend.restart(config, slot, "beat")
    assert caught.value.code == "process_unknown"
    assert backend.status(config, slot).matches_spec, "what was stopped stays so"


@pytest.mark.full
def test_a_spec_without_a_process_ends_it(config, slot):
    write_processes(config, slot, worker=WORK)
    pid = find_pids(backend.start(config, slot))["worker"]
    write_processes(config, slot)
    backend.restart(config, slot)
    assert not is_alive(pid)
    assert processes.list_units(config, slot) == []


def test_the_end_of_a_lease_ends_the_processes_and_the_next_run_has_new_logs(config, slot):
    write_processes(config, slot, worker=WORK)
    pid = find_pids(backend.start(config, slot))["worker"]
    assert backend.replace_with_idle_page(config, slot).kind == "idle"
    assert not is_alive(pid)
    assert managers.get_manager(config).list_names() == [backend.unit_name(slot)]
    write_processes(config, slot, run="18", clock=WORK)
    folder = backend_log.path(config, slot).parent
    assert sorted(path.name for path in folder.glob("preview-1.w*")) == ["preview-1.worker.log.1"]
    write_processes(config, slot, run="19")
    assert not list(folder.glob("preview-1.w*"))


def test_the_commands_show_and_restart_a_process_and_print_its_log(
    config, slot, capsys, monkeypatch
):
    monkeypatch.setattr(commands.configuration, "load", lambda: config)
    write_processes(config, slot, worker=WORK)
    backend.start(config, slot)
    wait_for_work(config, slot, "worker")
    answer = commands.run_command(["status", "--slot", "preview-1"])
    shown = [(one["type"], one["state"]) for one in answer["processes"]]
    assert shown == [("web", "running"), ("worker", "running")]
    assert answer["processes"][1]["log_file"].endswith("preview-1.worker.log")
    answer = commands.run_command(["logs", "--slot", "preview-1", "--process", "worker"])
    assert (answer["ok"], answer["lines"]) == (True, 1)
    assert "worker None it works" in capsys.readouterr().err
    refused = commands.run_command(["logs", "--slot", "preview-1", "--process", "beat"])
    assert refused["error"] == "process_unknown"


# Answers with its name, or with the status in the file.
SERVER = """
import http.server, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = pathlib.Path("status")
        self.send_response(int(status.read_text()) if status.exists() else 200)
        self.end_headers()
        self.wfile.write(os.environ["OROBOROS_PROCESS"].encode())
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def write_server(config, slot):
    tree = worktree.path(slot)
    server = ProcessSpec(
        "site", (sys.executable, "-u", "site_server.py"), tree, port_index=1, health_path="/up"
    )
    write(config, slot, SERVE + RUN, processes=(server,))
    (tree / "site_server.py").write_text(SERVER)


def test_a_server_beside_web_has_a_port_of_its_own_and_is_probed(config, slot):
    write_server(config, slot)
    started = backend.start(config, slot, seconds=60)
    port = slot.server_ports[1]
    assert http_client.get(port, "/up").body == b"site"
    assert started.matches_spec and backend.status(config, slot).matches_spec
    assert managers.get_manager(config).list_names() == [
        "ouroboros-preview@preview-1",
        "ouroboros-preview@preview-1.2",
    ]
    before = find_pids(started)
    (worktree.path(slot) / "status").write_text("503")
    found = backend.status(config, slot)
    assert not found.matches_spec and found.health.ok and not found.ended_processes
    assert [one.name for one in found.silent_servers] == ["site"]
    assert not found.silent_servers[0].is_healthy
    described = commands.describe(config, slot, found)
    assert described["health"] == "unhealthy"
    assert described["health_detail"] == "The process site: /up answered 503."
    (worktree.path(slot) / "status").unlink()
    os.kill(before["site"], signal.SIGKILL)
    assert wait_until(lambda: backend.has_exited(config, slot), seconds=60, interval=0.01)
    after = find_pids(backend.revive(config, slot, seconds=60))
    assert (after["web"], after["site"] != before["site"]) == (before["web"], True)
    stopped = backend.stop(config, slot)
    assert stopped.matches_spec and not any(map(is_alive, after.values()))


def test_a_silent_server_is_replaced_and_one_that_stays_so_refuses_the_start(
    config, slot, steady_soon
):
    write_server(config, slot)
    before = find_pids(backend.start(config, slot, seconds=60))
    (worktree.path(slot) / "status").write_text("404")
    with pytest.raises(Refused, match=r"process site of preview-1: /up answered 404") as caught:
        backend.revive(config, slot, seconds=60)
    assert caught.value.code == "backend_unhealthy"
    assert "`health_path` under [processes.site]" in caught.value.detail
    after = find_pids(backend.status(config, slot))
    assert (after["web"], after["site"] != before["site"]) == (before["web"], True)
