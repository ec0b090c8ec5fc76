"""The stack's units and env files, its health, and the routes of the router."""

import json
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import requests

from host import config as configuration
from host.deadline import wait_until
from host.errors import Refused
from host.files.surface_folder import LiveFile
from host.units import control_units
from host.units.local_manager import LocalManager
from ops import demo, env_files, live_release, progress, quickstart, stack
from ops.live_release import LiveBackend
from ops.stack import Row
from releases.production import current_link
from slots.runtime import backend, surface, surface_env_files
from tests.environment import free_offset, is_listening

URL = "postgresql://oroboros:secret@127.0.0.1:1/oroboros"
COMMIT = "0123456789abcdef" * 2 + "01234567"


def load(tmp_path, **more):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var"), **more})


def test_every_row_of_the_startup_matrix_has_a_unit_with_its_port(tmp_path):
    found = {unit.name: unit.port for unit in stack.build_control_units(load(tmp_path), {})}
    assert found == {
        "ouroboros-api": 8000,
        "ouroboros-worker": 8090,
        "ouroboros-web@main": 3100,
        "ouroboros-web@preview1": 3101,
        "ouroboros-web@preview2": 3102,
        "ouroboros-web@preview3": 3103,
        "ouroboros-caddy": 8088,
    }


def test_a_port_offset_moves_every_port(tmp_path):
    config = load(tmp_path, OROBOROS_PORT_OFFSET="1000")
    for unit in stack.build_control_units(config, {}):
        assert unit.port > 4000
    router = {unit.name: unit.env for unit in stack.build_control_units(config, {})}[
        "ouroboros-caddy"
    ]
    assert (router["WEB_MAIN_PORT"], router["API_PORT"]) == ("4100", "9000")


def test_variables_of_a_terminal_or_an_editor_are_not_forwarded():
    environ = {
        "PATH": "/bin",
        "HOME": "/root",
        "OROBOROS_DOMAIN": "d.test",
        "HTTPS_PROXY": "p",
        "UV_INDEX_URL": "u",
        "SSH_AUTH_SOCK": "x",
        "TERM": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "PYTHONPATH": "x",
        "VIRTUAL_ENV": "x",
    }
    forwarded = control_units.filter_environment(environ)
    assert sorted(forwarded) == ["HOME", "HTTPS_PROXY", "OROBOROS_DOMAIN", "PATH", "UV_INDEX_URL"]


@pytest.mark.parametrize(
    ("name", "is_restarted"),
    [("PATH", False), ("TZ", False), ("LANG", False), ("HOME", False), ("TMPDIR", False),
     ("DEBUG", True), ("HTTPS_PROXY", True), ("UV_INDEX_URL", True)],
)  # fmt: skip
def test_what_only_describes_the_caller_makes_no_other_unit(tmp_path, name, is_restarted):
    def list_digests(value):
        units = stack.build_control_units(load(tmp_path), {"PATH": "/bin", name: value})
        return [unit.digest for unit in units]

    assert (list_digests("one") != list_digests("another")) is is_restarted


def test_starting_the_stack_writes_its_ports_into_the_surfaces_env_files(tmp_path, monkeypatch):
    env_files_folder = tmp_path / "home" / surface_env_files.FOLDER
    shutil.copytree(configuration.HOME / surface_env_files.FOLDER, env_files_folder)
    environ = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_PORT_OFFSET": "700"}
    config = configuration.load({**environ, "DATABASE_URL": URL}, home=tmp_path / "home")
    started = []
    running = SimpleNamespace(is_running=lambda: True)
    monkeypatch.setattr(stack, "get_cluster", lambda config: running)
    monkeypatch.setattr(stack, "start_unit", lambda config, unit: started.append(unit.name))
    monkeypatch.setattr(stack, "_start_slot", lambda config, slot: None)
    monkeypatch.setattr(stack, "wait_until_healthy", lambda config, seconds, report: None)
    stack.start_all(config, {})
    assert len(started) == 7
    text = (env_files_folder / "web-preview1.env").read_text()
    assert "WEB_PORT=3801\n" in text
    assert "WEB_API_PROXY_TARGET=127.0.0.1:8801\n" in text


def test_starting_a_checkout_that_is_not_set_up_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"quickstart\.sh") as refused:
        stack.start_all(load(tmp_path), {})
    assert refused.value.code == "not_set_up"


def test_stopping_a_stack_that_does_not_run_succeeds(tmp_path):
    assert stack.stop_all(load(tmp_path)) == "Nothing of this checkout runs."


def test_without_a_running_stack_every_row_has_a_reason(tmp_path):
    rows = stack.check_health(load_stopped(tmp_path))
    assert len(rows) == 10
    assert not any(row.is_ok for row in rows)
    assert all(str(row).startswith("FAIL") and row.reason for row in rows)


def load_stopped(tmp_path):
    """Return the configuration of a checkout on whose ports no process listens."""
    return load(tmp_path, OROBOROS_PORT_OFFSET=str(free_offset()), DATABASE_URL=URL)


def make_live(config, colour, **manifest):
    """Make a build with that manifest live on that colour."""
    build = config.var / "releases" / f"r-20260101000000-{COMMIT[:12]}"
    build.mkdir(parents=True)
    (build / "manifest.json").write_text(json.dumps(manifest))
    address = f"127.0.0.1:{config.colour_ports[colour]}"
    current_link.write(config, LiveFile(7, address, COMMIT), None, None)
    current_link.switch(config, 7)


def test_the_live_backend_has_its_port_and_health_path(tmp_path):
    config = load_stopped(tmp_path)
    assert live_release.find_live_backend(config) is None
    make_live(config, 1, web={"argv": ["x"]}, manifest={"health_path": "/up"})
    assert live_release.find_live_backend(config) == LiveBackend(
        "ouroboros-app@green", config.colour_ports[1], "/up"
    )


def test_the_notes_of_the_live_release_are_read_from_its_build(tmp_path):
    config = load_stopped(tmp_path)
    assert live_release.read_notes(config) == []
    make_live(config, 0, web=None, notes=["the process 'worker' is not started here."])
    assert live_release.read_notes(config) == ["the process 'worker' is not started here."]


def test_a_live_release_without_a_backend_is_no_row(tmp_path):
    config = load_stopped(tmp_path)
    make_live(config, 0, web=None, manifest={"health_path": "/health"})
    assert live_release.find_live_backend(config) is None
    assert len(stack.check_health(config)) == 10


def test_main_surface_without_a_release_is_healthy_unless_its_link_is_broken(tmp_path):
    config = load_stopped(tmp_path)
    units = {unit.name: unit for unit in stack.build_control_units(config, {})}
    manager = LocalManager(config)
    manager.start(units["ouroboros-web@main"])
    try:
        is_probed = lambda: probe_main_surface(config) == (True, "no release is live yet")  # noqa: E731
        # On a busy host Caddy may listen only after the start has returned.
        assert wait_until(is_probed, seconds=60, interval=0.05)
        (config.var / "current").symlink_to("activations/9")
        assert probe_main_surface(config) == (False, "/health answered 503.")
    finally:
        assert manager.stop("ouroboros-web@main")


def probe_main_surface(config):
    row = next(row for row in stack.probe_rows(config) if row.name == "Web main")
    return row.is_ok, row.reason


def test_surface_of_a_stopped_slot_counts_as_stopped_while_it_answers(tmp_path):
    config = load_stopped(tmp_path)
    slot = config.slots[0]
    backend.stop(config, slot)
    row = Row("Web preview-1", slot.web_port, False, "/health answered 503.", has_answered=True)
    assert stack.find_stopped_slot(config, row) == slot.slot_id
    assert stack.find_stopped_slot(config, replace(row, has_answered=False)) is None


def test_waiting_for_production_times_out_and_reports_the_slow_rows(tmp_path, monkeypatch, capsys):
    config = load_stopped(tmp_path)
    make_live(config, 0, web={"argv": ["x"]}, manifest={"health_path": "/up"})
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    with pytest.raises(Refused, match="Production app") as refused, progress.step("Up") as report:
        stack.wait_until_healthy(config, 0.2, report)
    assert refused.value.code == "not_healthy"
    assert "waiting for API (control), Worker" in capsys.readouterr().err


def test_quickstart_names_the_live_release_rather_than_the_runs_own(tmp_path):
    class Api:
        def get(self, path):
            rows = [("r-2", "retired"), ("r-1", "live")]
            return {"results": [{"release_id": name, "status": status} for name, status in rows]}

    run = {"status": "merged", "release_id": "r-2"}
    lines = "\n".join(
        quickstart.build_summary(load(tmp_path), run, quickstart.find_live_release_id(Api()))
    )
    assert "live is release r-1" in lines
    assert "is merged, as release r-2" in lines
    assert "http://api.localhost:8088/admin/" in lines and ":8000/admin" not in lines


def test_env_files_are_private_written_once_and_differ_between_checkouts(tmp_path):
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    for config in (first, second):
        env_files.write_missing_files(config, tmp_path / "demo.git")
    names = sorted(path.name for path in first.env_dir.iterdir())
    assert names == ["api.env", "app.env", "worker-preview.env", "worker.env"]
    for path in first.env_dir.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    before = (first.env_dir / "api.env").read_text()
    assert before != (second.env_dir / "api.env").read_text()
    env_files.write_missing_files(first, tmp_path / "other.git")
    assert (first.env_dir / "api.env").read_text() == before


def test_the_env_files_configure_the_stack(tmp_path):
    config = load(tmp_path, OROBOROS_PORT_OFFSET="700")
    env_files.write_missing_files(config, tmp_path / "demo" / "guestbook.git")
    environ = {"OROBOROS_VAR": str(config.var)}
    configuration.load_env_files(environ)
    again = configuration.load(environ)
    assert again.postgres_port == config.postgres_port == 55029
    assert f":{again.postgres_port}/oroboros" in again.database_url
    assert env_files.parse_role(again.preview_admin_database_url)[0] == "oroboros_admin"
    assert again.git_local_roots == (tmp_path / "demo",)
    assert len(environ["SECRET_KEY"]) >= 50


def test_a_repository_named_in_the_shell_replaces_the_demo(tmp_path):
    settings = {"GIT_REMOTE_URL": "ssh://git@git.example.com/app.git", "GIT_SSH_KEY_FILE": "/k"}
    config = load(tmp_path, **settings)
    assert not demo.is_demo(config)
    env_files.write_missing_files(config, tmp_path / "demo.git")
    worker_env = configuration.read_env_file(config.env_dir / "worker.env")
    assert {
        name: worker_env[name] for name in worker_env if name.startswith(("GIT", "MERGE"))
    } == settings
    assert demo.is_demo(load(tmp_path))


@pytest.fixture
def router(tmp_path):
    """Run the router in front of servers that answer with their port, the host and the path."""
    config = load(tmp_path, OROBOROS_PORT_OFFSET=str(free_offset()))

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            answer = (self.server.server_port, self.headers["Host"], self.path)
            self.wfile.write(" ".join(map(str, answer)).encode())

        def log_message(self, *arguments):
            pass

    ports = [config.api_port, config.web_port, config.slots[1].web_port]
    servers = [ThreadingHTTPServer(("127.0.0.1", port), Echo) for port in ports]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    unit = next(unit for unit in stack.build_control_units(config, {}) if unit.name == stack.ROUTER)
    manager = LocalManager(config)
    manager.start(unit)
    # On a busy host Caddy may listen only after the start has returned.
    assert wait_until(lambda: is_listening(config.router_port), seconds=60, interval=0.05)
    yield config
    assert manager.stop(unit.name)
    for server in servers:
        server.shutdown()
        server.server_close()


def get(config, host, path="/health"):
    url = f"http://127.0.0.1:{config.router_port}{path}"
    return requests.get(url, headers={"Host": host}, timeout=60)


def test_the_router_sends_each_host_name_to_its_port_and_answers_404_to_others(router):
    api, web, second = router.api_port, router.web_port, router.slots[1].web_port
    assert get(router, "api.example.com").text == f"{api} api.example.com /health"
    assert get(router, "app.example.com", "/x?y=1").text == f"{web} app.example.com /x?y=1"
    assert get(router, "preview2.example.com").text == f"{second} preview2.example.com /health"
    assert get(router, "preview1.example.com").status_code == 502
    for host in ("example.com", "127.0.0.1", "preview4.example.com", "app.example.org"):
        assert get(router, host).status_code == 404


def test_the_router_finds_the_slot_that_has_the_preview_of_a_label(router):
    first, second = router.slots[:2]
    host = "feature-x-1a2b3c.preview.example.com"
    explanation = f"{router.api_port} 127.0.0.1:{router.api_port} /internal/preview"
    assert get(router, host).text == explanation
    surface.show_live(router, second, "17", "c" * 40, None, label="feature-x-1a2b3c")
    assert get(router, host, "/x").text == f"{second.web_port} {host} /x"
    assert get(router, f"sub.{host}").status_code == 200
    for other in ("feature-y-1a2b3c.preview.example.com", "..preview.example.com"):
        answer = get(router, other)
        is_refused = answer.status_code in (400, 404)
        assert is_refused or answer.text == explanation
        assert is_refused or answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    # The surface of the first slot, to which the label moves, does not run here.
    surface.show_free(router, second)
    surface.show_preparing(router, first, "18", "d" * 40, label="feature-x-1a2b3c")
    assert get(router, host).status_code == 502


def test_only_its_owner_can_open_the_routers_admin_socket(router):
    socket = router.var / "run" / "caddy.sock"
    assert socket.is_socket()
    assert socket.stat().st_mode & 0o777 == 0o600
