"""What the stack consists of, what it is told, and where the router sends whom."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from host import config as configuration
from host.errors import Refused
from host.units import managers
from ops import env_files, live_release, progress, quickstart, stack
from ops.live_release import Live
from releases.production import current_link
from tests.environment import free_port
from tests.system.host import free_offset

URL = "postgresql://oroboros:secret@127.0.0.1:1/oroboros"
COMMIT = "0123456789abcdef" * 2 + "01234567"


def load(tmp_path, **more):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var"), **more})


def test_every_row_of_the_startup_matrix_has_a_unit_with_its_port(tmp_path):
    found = {unit.name: unit.port for unit in stack.control_units(load(tmp_path))}
    assert found == {
        "ouroboros-api": 8000,
        "ouroboros-worker": 8090,
        "ouroboros-web@main": 3100,
        "ouroboros-web@preview1": 3101,
        "ouroboros-web@preview2": 3102,
        "ouroboros-web@preview3": 3103,
        "ouroboros-caddy": 8088,
    }


def test_a_second_stack_beside_it_has_other_ports_everywhere(tmp_path):
    config = load(tmp_path, OROBOROS_PORT_OFFSET="1000")
    for unit in stack.control_units(config):
        assert unit.port > 4000
    router = {unit.name: unit.env for unit in stack.control_units(config)}["ouroboros-caddy"]
    assert (router["WEB_MAIN_PORT"], router["API_PORT"]) == ("4100", "9000")


def test_a_terminal_or_an_editor_makes_no_other_command_of_it():
    given = {
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
    kept = stack.control_environment(given)
    assert sorted(kept) == ["HOME", "HTTPS_PROXY", "OROBOROS_DOMAIN", "PATH", "UV_INDEX_URL"]


def test_a_checkout_that_is_not_set_up_says_so(tmp_path):
    with pytest.raises(Refused, match=r"quickstart\.sh") as refused:
        stack.up(load(tmp_path))
    assert refused.value.code == "not_set_up"


def test_stopping_what_never_ran_is_done(tmp_path):
    assert stack.down(load(tmp_path)) == "Nothing of this checkout runs any more."


def test_where_nothing_runs_every_row_says_why(tmp_path):
    rows = stack.health(nowhere(tmp_path))
    assert len(rows) == 10
    assert not any(row.ok for row in rows)
    assert all(str(row).startswith("FAIL") and row.said for row in rows)


def nowhere(tmp_path):
    """Return a checkout with ports of its own, on which nothing listens."""
    offset = str(free_port() % 5000 + 40000 - 8000)
    return load(tmp_path, OROBOROS_PORT_OFFSET=offset, DATABASE_URL=URL)


def make_live(config, colour, **facts):
    """Have that colour serve a build of which the manifest says those facts."""
    build = config.var / "releases" / f"r-20260101000000-{COMMIT[:12]}"
    build.mkdir(parents=True)
    (build / "manifest.json").write_text(json.dumps(facts))
    address = f"127.0.0.1:{config.colour_ports[colour]}"
    current_link.write(config, current_link.Pointer(7, address, COMMIT), None, None)
    current_link.switch(config, 7)


def test_the_colour_that_serves_is_found_with_what_it_answers_on(tmp_path):
    config = nowhere(tmp_path)
    assert live_release.live(config) is None
    make_live(config, 1, web={"argv": ["x"]}, health_path="/up")
    assert live_release.live(config) == Live("ouroboros-app@green", config.colour_ports[1], "/up")


def test_what_is_live_without_a_backend_is_not_waited_for(tmp_path):
    config = nowhere(tmp_path)
    make_live(config, 0, web=None, health_path="/health")
    assert live_release.live(config) is None
    assert len(stack.health(config)) == 10


def test_production_is_waited_for_and_what_is_slow_is_told(tmp_path, monkeypatch, capsys):
    config = nowhere(tmp_path)
    make_live(config, 0, web={"argv": ["x"]}, health_path="/up")
    monkeypatch.setattr(progress, "TELL_SECONDS", 0.0)
    with pytest.raises(Refused, match="Production app") as refused, progress.step("Up") as waiting:
        stack.wait(config, 0.2, waiting)
    assert refused.value.code == "not_healthy"
    assert "waiting for API (control), Worker" in capsys.readouterr().err


def test_quickstart_says_what_is_live_now_and_not_what_the_run_shipped(tmp_path):
    class Api:
        def get(self, path):
            rows = [("r-2", "retired"), ("r-1", "live")]
            return {"results": [{"release_id": name, "status": status} for name, status in rows]}

    run = {"status": "merged", "release_id": "r-2"}
    lines = "\n".join(quickstart.summary(load(tmp_path), run, quickstart.live(Api())))
    assert "live is release r-1" in lines
    assert "is merged, as release r-2" in lines


def test_the_env_files_are_secret_made_once_and_never_the_same(tmp_path):
    first, second = load(tmp_path / "a"), load(tmp_path / "b")
    for config in (first, second):
        env_files.make(config, tmp_path / "demo.git")
    names = sorted(path.name for path in first.env_dir.iterdir())
    assert names == ["api.env", "app.env", "worker-preview.env", "worker.env"]
    for path in first.env_dir.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    before = (first.env_dir / "api.env").read_text()
    assert before != (second.env_dir / "api.env").read_text()
    env_files.make(first, tmp_path / "other.git")
    assert (first.env_dir / "api.env").read_text() == before


def test_the_env_files_say_what_the_stack_needs(tmp_path):
    config = load(tmp_path, OROBOROS_PORT_OFFSET="700")
    env_files.make(config, tmp_path / "demo" / "guestbook.git")
    made = {"OROBOROS_VAR": str(config.var)}
    configuration.load_env_files(made)
    again = configuration.load(made)
    assert again.postgres_port == config.postgres_port == 55029
    assert f":{again.postgres_port}/oroboros" in again.database_url
    assert env_files.role(again.preview_admin_database_url)[0] == "oroboros_admin"
    assert again.git_local_roots == (tmp_path / "demo",)
    assert len(made["SECRET_KEY"]) >= 50


def test_the_repository_that_the_shell_names_is_kept_in_place_of_the_demos(tmp_path):
    asked = {"GIT_REMOTE_URL": "ssh://git@git.example.com/app.git", "GIT_SSH_KEY_FILE": "/k"}
    config = load(tmp_path, **asked)
    assert not quickstart.is_demo(config)
    env_files.make(config, tmp_path / "demo.git")
    kept = configuration.read_env_file(config.env_dir / "worker.env")
    assert {name: kept[name] for name in kept if name.startswith(("GIT", "MERGE"))} == asked
    assert quickstart.is_demo(load(tmp_path))


@pytest.fixture
def router(tmp_path):
    """Run the router before a server that says which port was asked, and by which host name."""
    config = load(tmp_path, OROBOROS_PORT_OFFSET=str(free_offset()))

    class Echo(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            said = (self.server.server_port, self.headers["Host"], self.path)
            self.wfile.write(" ".join(map(str, said)).encode())

        def log_message(self, *arguments):
            pass

    ports = [config.api_port, config.web_port, config.slots[1].web_port]
    servers = [ThreadingHTTPServer(("127.0.0.1", port), Echo) for port in ports]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    unit = next(unit for unit in stack.control_units(config) if unit.name == stack.ROUTER)
    manager = managers.LocalManager(config)
    manager.start(unit)
    yield config
    assert manager.stop(unit.name)
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(config, host, path="/health"):
    url = f"http://127.0.0.1:{config.router_port}{path}"
    return requests.get(url, headers={"Host": host}, timeout=5)


def test_the_router_sends_each_name_to_its_port_and_others_nowhere(router):
    api, web, second = router.api_port, router.web_port, router.slots[1].web_port
    assert ask(router, "api.example.com").text == f"{api} api.example.com /health"
    assert ask(router, "app.example.com", "/x?y=1").text == f"{web} app.example.com /x?y=1"
    assert ask(router, "preview2.example.com").text == f"{second} preview2.example.com /health"
    assert ask(router, "preview1.example.com").status_code == 502
    for host in ("example.com", "127.0.0.1", "preview4.example.com", "app.example.org"):
        assert ask(router, host).status_code == 404


def test_the_routers_admin_socket_is_for_its_owner_only(router):
    socket = router.var / "run" / "caddy.sock"
    assert socket.is_socket()
    assert socket.stat().st_mode & 0o777 == 0o600
