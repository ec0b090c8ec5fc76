"""What the web ports answer, asked of the real Caddy."""

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from host.errors import Refused
from host.files import safe_files
from slots.runtime import idle_page, surface, worktree
from tests.slots.runtime.answering_backend import echo

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "fedcba9876543210fedcba9876543210fedcba98"


@contextmanager
def caddy(config, name):
    """Run the surface and wait until it answers."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(config.var)}
    environ |= surface.environment(config, name)
    port = int(environ["WEB_PORT"])
    process = subprocess.Popen(
        surface.command(config), env=environ, cwd=config.home, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "Caddy does not listen"
                time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def web(config, slot):
    """The surface of the first slot, free."""
    surface.show_free(config, slot)
    with caddy(config, "preview1") as port:
        yield port


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)


def ask(port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.fixture
def idle_responder(slot):
    with socket.create_server(("127.0.0.1", slot.backend_port), backlog=16) as listener:
        threading.Thread(target=serve_until_closed, args=(listener, slot), daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def serve_until_closed(listener, slot):
    try:
        idle_page.serve(listener, slot.slot_id)
    except OSError:
        return


def test_a_free_slot_says_so_on_every_page_and_its_health_is_the_idle_responders(
    web, slot, idle_responder
):
    page = ask(web, "/any/page")
    assert (page.status, page.headers["Retry-After"]) == (503, "5")
    assert b"preview-1 is free" in page.body
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert page.headers["X-Oroboros-Run"] is None
    assert ask(web, "/health").status == 200
    health = ask(web, "/api/health")
    assert (health.status, health.json) == (200, {"status": "idle", "slot_id": slot.slot_id})
    assert ask(web, "/api/things").status == 503


def test_a_slot_that_is_preparing_shows_its_progress_and_refreshes(web, config, slot):
    surface.show_preparing(config, slot, "17", COMMIT, [("install", "running"), ("<b>", "waiting")])
    page = ask(web, "/")
    assert (page.status, page.headers["Retry-After"]) == (503, "2")
    assert b"install" in page.body and b"&lt;b&gt;" in page.body
    assert b'http-equiv="refresh"' in page.body
    assert (page.headers["X-Oroboros-Run"], page.headers["X-Oroboros-Commit"]) == ("17", COMMIT)
    number = surface.shown(slot).number
    surface.show_preparing(config, slot, "17", COMMIT, [("install", "done")])
    assert surface.shown(slot).number == number
    assert b"<span>done</span>" in ask(web, "/").body
    for method, path in (("GET", "/api/health"), ("POST", "/api/x"), ("DELETE", "/x")):
        answer = ask(web, path, method)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), path
    assert (ask(web, "/", "HEAD").status, ask(web, "/", "HEAD").body) == (503, b"")


def built(slot, name="dist", **pages):
    public = worktree.path(slot) / name
    public.mkdir(parents=True, exist_ok=True)
    for page, text in pages.items():
        (public / page.replace("_", ".")).write_text(text)
    return public


def test_a_preview_serves_its_frontend_and_its_backend_under_api(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, built(slot, index_html="home", app_js="js"))
    with echo(slot.backend_port):
        assert ask(web, "/").body == b"home"
        assert ask(web, "/app.js").body == b"js"
        assert ask(web, "/some/route?x=1").body == b"home"
        said = ask(web, "/api/things?x=1", "POST", "body").json
        assert (said["path"], said["method"], said["body"]) == ("/api/things?x=1", "POST", "body")
        for path in ("/", "/api/x", "/health", "/app.js"):
            answer = ask(web, path)
            assert answer.headers["X-Oroboros-Run"] == "17", path
            assert answer.headers["X-Oroboros-Commit"] == COMMIT, path
            assert answer.headers["X-Robots-Tag"] == "noindex", path


def test_a_preview_without_a_built_frontend_is_served_whole_by_its_backend(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        assert ask(web, "/admin/login/").json["path"] == "/admin/login/"
        assert ask(web, "/").headers["X-Oroboros-Run"] == "17"


def test_the_headers_of_a_preview_cannot_be_forged_by_its_backend(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    forged = [("X-Oroboros-Run", "1"), ("X-Oroboros-Commit", OTHER)]
    with echo(slot.backend_port, more_headers=forged):
        answer = ask(web, "/")
    assert answer.headers.get_all("X-Oroboros-Run") == ["17"]
    assert answer.headers.get_all("X-Oroboros-Commit") == [COMMIT]


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ("a=1; oroboros_session=S; b=2", "a=1; b=2"),
        ("oroboros_session=S; b=2", "b=2"),
        ("b=2;oroboros_csrftoken=S", "b=2"),
        ("__Host-oroboros_session=S; __Host-oroboros_csrftoken=S;a=1", "a=1"),
        ("oroboros_session=S;oroboros_session=S; oroboros_csrftoken =S", ""),
        ('a="1"; oroboros_session="S"', 'a="1"'),
        ("my_oroboros_session=mine; oroboros_sessions=mine", None),
        ("sessionid=1; csrftoken=2", None),
    ],
)
def test_the_control_planes_cookies_never_reach_a_backend(web, config, slot, sent, received):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        headers = ask(web, "/api/x", Cookie=sent).json["headers"]
    cookies = [value for key, value in headers if key == "cookie"]
    assert "; ".join(cookies) == (sent if received is None else received)


def test_a_backend_cannot_set_the_control_planes_cookies(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    bad = [
        "oroboros_session=x; Path=/",
        "=oroboros_session=x",
        "__Host-oroboros_csrftoken=x; Secure",
    ]
    bad += [" oroboros_csrftoken =x", "oroboros_session"]
    with echo(slot.backend_port, set_cookies=[*bad, "mine=1; Path=/"]):
        answer = ask(web, "/")
    assert [value for value in answer.headers.get_all("Set-Cookie") if value] == ["mine=1; Path=/"]


def allowed_origins(config):
    local = [
        f"http://{host}:{slot.web_port}"
        for slot in config.slots
        for host in ("127.0.0.1", "localhost", f"preview{slot.number}.localhost")
    ]
    return [*local, "https://app.example.com", "https://preview3.example.com"]


def test_our_own_pages_may_read_answers_of_a_surface_without_credentials(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    own = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true")]
    with echo(slot.backend_port, more_headers=own):
        for origin in allowed_origins(config):
            asked = {"Origin": origin, "Access_Control_Request_Method": "PUT"}
            asked["Access_Control_Request_Headers"] = "content-type"
            preflight = ask(web, "/api/x", "OPTIONS", **asked)
            assert (preflight.status, preflight.body) == (204, b""), origin
            assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
            assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
            for answer in (preflight, ask(web, "/api/x", Origin=origin)):
                assert answer.headers.get_all("Access-Control-Allow-Origin") == [origin]
                assert answer.headers["Access-Control-Allow-Credentials"] is None
                assert "Origin" in answer.headers["Vary"]


def test_the_operators_further_origins_may_read_answers_too(config, slot):
    config.environ["CORS_APP_ORIGINS"] = "https://shop.example,https://desk.example:8443"
    surface.show_live(config, slot, 17, COMMIT, None)
    with caddy(config, "preview1") as port, echo(slot.backend_port):
        for origin, allowed in (
            ("https://shop.example", ["https://shop.example"]),
            ("https://desk.example:8443", ["https://desk.example:8443"]),
            ("https://shopxexample", None),
            ("https://desk.example", None),
        ):
            answer = ask(port, "/api/x", Origin=origin)
            assert answer.headers.get_all("Access-Control-Allow-Origin") == allowed


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "https://preview1.example.com.evil.example",
        "https://preview1xexample.com",
        "http://preview1.example.com",
        "http://localhost:1",
        "https://evil.example/https://app.example.com",
        "null",
        "",
    ],
)
def test_a_foreign_origin_gets_what_the_backend_says(web, config, slot, origin):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        asked = {"Origin": origin, "Access_Control_Request_Method": "PUT"}
        for answer in (ask(web, "/", "OPTIONS", **asked), ask(web, "/", Origin=origin)):
            assert answer.headers["Access-Control-Allow-Origin"] is None
            assert answer.json["path"] == "/"


def test_a_stream_passes_line_by_line(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port) as backend:
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=5)
        connection.request("GET", "/api/stream")
        response = connection.getresponse()
        assert response.readline() == b"first\n"
        backend.go_on.set()
        assert response.readline() == b"second\n"
        connection.close()


def test_a_websocket_passes(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, built(slot, index_html="home"))
    head = b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with echo(slot.backend_port), socket.create_connection(("127.0.0.1", web), 5) as client:
        client.sendall(head)
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(1000)
        assert received.startswith(b"HTTP/1.1 101")
        client.sendall(b"hello")
        assert client.recv(len(b"echo hello"), socket.MSG_WAITALL) == b"echo hello"


def test_a_backend_that_does_not_answer_is_said_with_the_runs_headers(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    answer = ask(web, "/")
    assert answer.status == 502
    assert answer.headers["X-Oroboros-Run"] == "17"


def test_a_backend_that_comes_back_within_seconds_loses_no_request(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(web, "/")))
    asking.start()
    with echo(slot.backend_port):
        asking.join()
    assert answers[0].status == 200


def test_a_link_in_a_build_is_not_followed(web, config, slot, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    public = built(slot, index_html="home")
    (public / "leak.txt").symlink_to(secret)
    (public / "folder").symlink_to(tmp_path)
    os.mkfifo(public / "fifo")
    left_out = surface.show_live(config, slot, 17, COMMIT, public)
    assert left_out == ["fifo", "folder", "leak.txt"]
    for path in ("/leak.txt", "/folder/secret", "/public/../../live", "/live", "/%2e%2e/live"):
        assert b"hunter2" not in (body := ask(web, path).body), path
        assert COMMIT.encode() not in body, path
    linked = worktree.path(slot) / "linked"
    linked.symlink_to(tmp_path)
    for public in (linked, linked / "folder"):
        with pytest.raises(Refused, match="linked is a link") as refused:
            surface.show_live(config, slot, 17, COMMIT, public)
        assert refused.value.code == "build_failed"
    assert surface.shown(slot).mode == "live"


def test_a_missing_file_is_404_and_a_route_is_the_index_page(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, built(slot, index_html="home", app_js="js"))
    for path in ("/gone.js", "/assets/gone-1a2b.css", "/page.html", "/gone.js?v=1"):
        assert ask(web, path).status == 404, path
    for path in ("/users/7", "/v1.2", "/a.b/route", "/user@example.com/x"):
        assert (ask(web, path).status, ask(web, path).body) == (200, b"home"), path


def test_a_file_that_is_not_there_and_no_index_is_404(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, built(slot, other_html="x"))
    assert ask(web, "/live").status == 404
    assert ask(web, "/other.html").body == b"x"


def test_no_answer_is_torn_while_the_slot_switches(web, config, slot):
    pages = {
        COMMIT: built(slot, "one", index_html=COMMIT),
        OTHER: built(slot, "two", index_html=OTHER),
    }
    surface.show_live(config, slot, 1, COMMIT, pages[COMMIT])
    torn, asked, done = [], [], threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=10)
        while not done.is_set():
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read().decode()
            asked.append(body)
            if (response.status, body) != (200, response.headers["X-Oroboros-Commit"]):
                torn.append((response.status, body))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    for number in range(100):
        commit = OTHER if number % 2 else COMMIT
        surface.show_live(config, slot, number, commit, pages[commit])
    done.set()
    for thread in clients:
        thread.join()
    assert not torn
    assert len(asked) > 100


def test_showing_free_again_changes_nothing_and_old_activations_go(config, slot, monkeypatch):
    surface.show_free(config, slot)
    first = surface.shown(slot)
    surface.show_free(config, slot)
    assert surface.shown(slot) == first
    for run in range(5):
        surface.show_preparing(config, slot, run, COMMIT)
    activations = slot.folder / "activations"
    assert len(list(activations.iterdir())) == 6
    monkeypatch.setattr(surface, "GRACE_SECONDS", -1.0)
    surface.show_free(config, slot)
    assert [int(entry.name) for entry in activations.iterdir()] == [surface.shown(slot).number]


def activate_main(config, number, port, commit, public=None, previous=None):
    folder = config.var / "activations" / str(number)
    folder.mkdir(parents=True)
    (folder / "live").write_text(f"{number} 127.0.0.1:{port} {commit}\n")
    for name, target in (("public", public), ("previous", previous)):
        if target is not None:
            (folder / name).symlink_to(target)
    safe_files.replace_link(f"activations/{number}", config.var / "current")


def test_main_switches_files_backend_and_header_by_one_rename(config, slot, tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)
        (tmp_path / name / f"{name}.js").write_text(f"{name} js")
    blue, green = config.slots[1].backend_port, config.slots[2].backend_port
    with caddy(config, "main") as port, echo(blue, name="blue"), echo(green, name="green"):
        assert (ask(port, "/").status, ask(port, "/health").status) == (503, 200)
        activate_main(config, 1, blue, COMMIT, tmp_path / "old")
        assert ask(port, "/").body == b"old"
        assert ask(port, "/api/x").json["name"] == "blue"
        activate_main(config, 2, green, OTHER, tmp_path / "new", tmp_path / "old")
        answer = ask(port, "/")
        assert (answer.body, answer.headers["X-Oroboros-Commit"]) == (b"new", OTHER)
        assert answer.headers["X-Robots-Tag"] is None
        assert answer.headers["X-Oroboros-Run"] is None
        assert ask(port, "/api/x").json["name"] == "green"
        assert ask(port, "/old.js").body == b"old js"
        activate_main(config, 3, blue, COMMIT)
        assert ask(port, "/page").json["name"] == "blue"


def test_the_env_files_are_what_the_surfaces_are_told():
    from host.config import load

    config = load({})
    told = surface.environment(config, "preview2")
    assert told["WEB_PORT"] == "3102"
    assert told["WEB_ROOT"] == str(config.var / "slots" / "preview-2")
    assert told["WEB_API_PROXY_TARGET"] == "127.0.0.1:8102"
    shifted = surface.environment(load({"OROBOROS_PORT_OFFSET": "12000"}), "preview2")
    assert (shifted["WEB_PORT"], shifted["WEB_API_PROXY_TARGET"]) == ("15102", "127.0.0.1:20102")
    assert surface.environment(config, "main")["WEB_API_PROXY_TARGET"] == "{re.live.2}"
