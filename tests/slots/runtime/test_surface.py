"""What the web ports answer, served by the real Caddy."""

import http.client
import os
import socket
import threading
import time

import pytest

from host.deadline import Deadline, wait_until
from host.errors import Refused
from host.files.surface_folder import SurfaceFolder
from slots.runtime import backend, surface, worktree
from tests.slots.runtime.answering_backend import dropping_server, echo
from tests.slots.runtime.surface_server import (
    COMMIT,
    OTHER,
    activate_main,
    build_public,
    caddy,
    request,
)


def test_free_slot_shows_its_page_everywhere_and_the_idle_pages_health(web, slot, idle_page_server):
    page = request(web, "/any/page")
    assert (page.status, page.headers["Retry-After"]) == (503, "5")
    assert b"preview-1 is free" in page.body
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert page.headers["X-Oroboros-Run"] is None
    assert request(web, "/health").status == 200
    health = request(web, "/api/health")
    assert (health.status, health.json) == (200, {"status": "idle", "slot_id": slot.slot_id})
    assert request(web, "/api/things").status == 503


def test_a_surface_answers_on_both_loopbacks_so_that_no_other_program_can(web):
    for address in ("127.0.0.1", "::1"):
        connection = http.client.HTTPConnection(address, web, timeout=60)
        connection.request("GET", "/any/page")
        assert b"preview-1 is free" in connection.getresponse().read()
        connection.close()
    with pytest.raises(OSError, match="in use"), socket.socket(socket.AF_INET6) as rival:
        rival.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        rival.bind(("::", web))
        rival.listen()


def test_preparing_slot_shows_its_progress_and_refreshes(web, config, slot):
    surface.show_preparing(config, slot, "17", COMMIT, [("install", "running"), ("<b>", "waiting")])
    page = request(web, "/")
    assert (page.status, page.headers["Retry-After"]) == (503, "2")
    assert b"install" in page.body and b"&lt;b&gt;" in page.body
    assert b'http-equiv="refresh"' in page.body
    assert (page.headers["X-Oroboros-Run"], page.headers["X-Oroboros-Commit"]) == ("17", COMMIT)
    number = surface.read_state(slot).number
    surface.show_preparing(config, slot, "17", COMMIT, [("install", "done")])
    assert surface.read_state(slot).number == number
    assert b"<span>done</span>" in request(web, "/").body
    for method, path in (("GET", "/api/health"), ("POST", "/api/x"), ("DELETE", "/x")):
        answer = request(web, path, method)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2"), path
    assert (request(web, "/", "HEAD").status, request(web, "/", "HEAD").body) == (503, b"")


def test_preview_serves_its_frontend_and_its_backend_under_api(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, build_public(slot, index_html="home", app_js="js"))
    with echo(slot.backend_port):
        assert request(web, "/").body == b"home"
        assert request(web, "/app.js").body == b"js"
        assert request(web, "/some/route?x=1").body == b"home"
        received = request(web, "/api/things?x=1", "POST", "body").json
        assert (received["path"], received["method"], received["body"]) == (
            "/api/things?x=1",
            "POST",
            "body",
        )
        for path in ("/", "/api/x", "/health", "/app.js"):
            answer = request(web, path)
            assert answer.headers["X-Oroboros-Run"] == "17", path
            assert answer.headers["X-Oroboros-Commit"] == COMMIT, path
            assert answer.headers["X-Robots-Tag"] == "noindex", path


def test_preview_without_a_built_frontend_is_served_by_its_backend_alone(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        assert request(web, "/admin/login/").json["path"] == "/admin/login/"
        assert request(web, "/").headers["X-Oroboros-Run"] == "17"


def test_backend_cannot_forge_the_headers_of_a_preview(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    forged = [("X-Oroboros-Run", "1"), ("X-Oroboros-Commit", OTHER)]
    with echo(slot.backend_port, more_headers=forged):
        answer = request(web, "/")
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
def test_control_plane_cookies_do_not_reach_a_backend(web, config, slot, sent, received):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        headers = request(web, "/api/x", Cookie=sent).json["headers"]
    cookies = [value for key, value in headers if key == "cookie"]
    assert "; ".join(cookies) == (sent if received is None else received)


BAD_COOKIES = [
    "oroboros_session=x; Path=/",
    "OROBOROS_session=x",
    "=oroboros_session=x",
    "=a",
    "a",
    "oroboros_session",
    " oroboros_csrftoken =x",
    "__Host-oroboros_csrftoken=x; Secure",
    "__host-oroboros_session=x; Secure",
    *(f"{space}oroboros_session=x" for space in ("\xa0", "\x85", "\xc2\xa0")),
    "oroboros_session\xa0=x",
    '"oroboros_session"=x',
    "a b=x",
    "a,oroboros_session=x",
]


def test_backend_cannot_set_the_control_planes_cookies(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    good = ["mine=1; Path=/", "a.b-c!=x=y; HttpOnly", "__Host-a=1; Secure; Path=/"]
    more = [("Clear-Site-Data", '"cookies"'), ("clear-site-data", "*")]
    with echo(slot.backend_port, set_cookies=[*BAD_COOKIES, *good], more_headers=more):
        answer = request(web, "/")
    assert [value for value in answer.headers.get_all("Set-Cookie") if value] == good
    assert answer.headers["Clear-Site-Data"] is None


def test_backend_cannot_set_cookies_in_the_answer_to_an_upgrade(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    cookies = (*BAD_COOKIES, "mine=1", "theirs=1; domain =a")
    headers = "".join(f"Set-Cookie: {value}\r\n" for value in cookies)
    headers += 'Clear-Site-Data: "cookies"\r\n'
    with (
        echo(slot.backend_port, upgrade_headers=headers),
        socket.create_connection(("127.0.0.1", web), timeout=60) as client,
    ):
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = client.recv(65536)
            assert received, answer
            answer += received
    answer = answer.decode("latin-1").lower()
    assert answer.startswith("http/1.1 101")
    assert "oroboros_session" not in answer and "domain" not in answer
    assert "set-cookie: mine=1\r\n" in answer and "clear-site-data" not in answer


def allowed_origins(config):
    local = [
        f"http://{host}:{slot.web_port}"
        for slot in config.slots
        for host in ("127.0.0.1", "localhost", f"preview{slot.number}.localhost")
    ]
    return [*local, "https://app.example.com", "https://preview3.example.com"]


def test_own_origins_may_read_answers_without_credentials(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    own = [("Access-Control-Allow-Origin", "*"), ("Access-Control-Allow-Credentials", "true")]
    with echo(slot.backend_port, more_headers=own):
        for origin in allowed_origins(config):
            asked = {"Origin": origin, "Access_Control_Request_Method": "PUT"}
            asked["Access_Control_Request_Headers"] = "content-type"
            preflight = request(web, "/api/x", "OPTIONS", **asked)
            assert (preflight.status, preflight.body) == (204, b""), origin
            assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
            assert preflight.headers["Access-Control-Allow-Headers"] == "content-type"
            for answer in (preflight, request(web, "/api/x", Origin=origin)):
                assert answer.headers.get_all("Access-Control-Allow-Origin") == [origin]
                assert answer.headers["Access-Control-Allow-Credentials"] is None
                assert "Origin" in answer.headers["Vary"]


def test_origins_of_cors_app_origins_may_read_answers(config, slot):
    config.environ["CORS_APP_ORIGINS"] = "https://shop.example,https://desk.example:8443"
    surface.show_live(config, slot, 17, COMMIT, None)
    with caddy(config, "preview1") as port, echo(slot.backend_port):
        for origin, allowed in (
            ("https://shop.example", ["https://shop.example"]),
            ("https://desk.example:8443", ["https://desk.example:8443"]),
            ("https://shopxexample", None),
            ("https://desk.example", None),
        ):
            answer = request(port, "/api/x", Origin=origin)
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
def test_foreign_origin_gets_the_backends_own_answer(web, config, slot, origin):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port):
        asked = {"Origin": origin, "Access_Control_Request_Method": "PUT"}
        for answer in (request(web, "/", "OPTIONS", **asked), request(web, "/", Origin=origin)):
            assert answer.headers["Access-Control-Allow-Origin"] is None
            assert answer.json["path"] == "/"


def test_stream_is_forwarded_line_by_line(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port) as backend:
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        connection.request("GET", "/api/stream")
        response = connection.getresponse()
        assert response.readline() == b"first\n"
        backend.go_on.set()
        assert response.readline() == b"second\n"
        connection.close()


def test_websocket_is_forwarded(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, build_public(slot, index_html="home"))
    head = b"GET /api/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    head += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    with echo(slot.backend_port), socket.create_connection(("127.0.0.1", web), 60) as client:
        client.sendall(head)
        received = b""
        while b"\r\n\r\n" not in received:
            received += client.recv(1000)
        assert received.startswith(b"HTTP/1.1 101")
        client.sendall(b"hello")
        assert client.recv(len(b"echo hello"), socket.MSG_WAITALL) == b"echo hello"


def test_dead_backend_returns_502_with_the_runs_headers(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    answer = request(web, "/")
    assert answer.status == 502
    assert answer.headers["X-Oroboros-Run"] == "17"


def test_request_waits_for_a_backend_that_starts_within_seconds(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    answers = []
    client = threading.Thread(target=lambda: answers.append(request(web, "/")))
    client.start()
    with echo(slot.backend_port):
        client.join()
    assert answers[0].status == 200


def test_request_that_waited_for_an_ended_runs_backend_gets_no_answer_of_the_next_run(
    web, config, slot
):
    surface.show_live(config, slot, 17, COMMIT, None)
    answers = []
    paths = [f"/{number}" for number in range(10)]
    clients = [
        threading.Thread(target=lambda path=path: answers.append(request(web, path)))
        for path in paths
    ]
    with dropping_server(slot.backend_port) as dropped:
        for client in clients:
            client.start()
        # They have read the state; the surface tries again.
        assert wait_until(lambda: set(paths) <= dropped, seconds=30, interval=0.01)
    surface.show_preparing(config, slot, "18", OTHER)
    folder = SurfaceFolder(slot.folder)
    # The idle page may start long after the switch.
    os.utime(folder.link, (time.time() - 100,) * 2, follow_symlinks=False)
    unit = backend.replace_with_idle_page(config, slot).unit_status
    assert unit.is_active
    assert folder.read_age() < 50
    surface.wait_until_port_is_quiet(slot)
    backend.stop(config, slot)
    with echo(slot.backend_port) as server:
        for client in clients:
            client.join()
        assert server.requests == []
    for answer in answers:
        assert (answer.status, answer.headers["X-Oroboros-Run"]) == (503, None)
        assert answer.headers["X-Oroboros-Idle"] is None


def test_the_idle_pages_answer_never_has_the_headers_of_a_run(web, config, slot, idle_page_server):
    surface.show_live(config, slot, 17, COMMIT, None)
    answer = request(web, "/api/health")
    assert (answer.status, answer.headers["X-Oroboros-Run"]) == (503, None)
    assert answer.headers["X-Oroboros-Commit"] is None
    surface.show_free(config, slot)
    answer = request(web, "/api/health")
    assert (answer.status, answer.headers["X-Oroboros-Idle"]) == (200, None)


def test_link_in_a_build_is_not_followed(web, config, slot, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    public = build_public(slot, index_html="home")
    (public / "leak.txt").symlink_to(secret)
    (public / "folder").symlink_to(tmp_path)
    os.mkfifo(public / "fifo")
    skipped = surface.show_live(config, slot, 17, COMMIT, public)
    assert skipped == ["fifo", "folder", "leak.txt"]
    for path in ("/leak.txt", "/folder/secret", "/public/../../live", "/live", "/%2e%2e/live"):
        assert b"hunter2" not in (body := request(web, path).body), path
        assert COMMIT.encode() not in body, path
    linked = worktree.path(slot) / "linked"
    linked.symlink_to(tmp_path)
    for public in (linked, linked / "folder"):
        with pytest.raises(Refused, match="linked is a link") as refused:
            surface.show_live(config, slot, 17, COMMIT, public)
        assert refused.value.code == "build_failed"
    assert surface.read_state(slot).mode == "live"


def test_answers_are_consistent_while_the_slot_switches(web, config, slot):
    pages = {
        COMMIT: build_public(slot, "one", index_html=COMMIT),
        OTHER: build_public(slot, "two", index_html=OTHER),
    }
    surface.show_live(config, slot, 1, COMMIT, pages[COMMIT])
    torn, received, done = [], [], threading.Event()

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        while not done.is_set():
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read().decode()
            received.append(body)
            if (response.status, body) != (200, response.headers["X-Oroboros-Commit"]):
                torn.append((response.status, body))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()
    deadline, number = Deadline(60), 0
    while number < 100 or (len(received) <= 100 and not deadline.has_passed):
        commit = OTHER if number % 2 else COMMIT
        surface.show_live(config, slot, number, commit, pages[commit])
        number += 1
    done.set()
    for thread in clients:
        thread.join()
    assert not torn
    assert len(received) > 100


def test_show_free_repeated_changes_nothing_and_old_versions_are_removed(config, slot, monkeypatch):
    surface.show_free(config, slot)
    first = surface.read_state(slot)
    surface.show_free(config, slot)
    assert surface.read_state(slot) == first
    for run in range(5):
        surface.show_preparing(config, slot, run, COMMIT)
    versions = slot.folder / "activations"
    assert len(list(versions.iterdir())) == 6
    monkeypatch.setattr(surface, "GRACE_SECONDS", -1.0)
    surface.show_free(config, slot)
    assert [int(entry.name) for entry in versions.iterdir()] == [surface.read_state(slot).number]


def test_preparing_page_is_replaced_by_a_new_commit_or_run_and_not_by_progress(config, slot):
    shown = []
    for run, commit in ((1, COMMIT), (1, COMMIT), (1, OTHER), (2, OTHER)):
        surface.show_preparing(config, slot, run, commit, [("fetch", str(len(shown)))])
        state = surface.read_state(slot)
        shown.append((state.number, state.run_id, state.commit))
        page = slot.folder / "activations" / str(state.number) / "page.html"
        assert f"<span>{len(shown) - 1}</span>" in page.read_text()
    assert shown == [(1, "1", COMMIT), (1, "1", COMMIT), (2, "1", OTHER), (3, "2", OTHER)]


def test_eleven_versions_are_numbered_and_removed_in_their_order(config, slot, monkeypatch):
    monkeypatch.setattr(surface, "GRACE_SECONDS", -1.0)
    for run in range(1, 12):
        surface.show_preparing(config, slot, run, COMMIT)
        assert surface.read_state(slot).number == run
        versions = slot.folder / "activations"
        assert [entry.name for entry in versions.iterdir()] == [str(run)]


def test_main_switches_files_backend_and_header_by_one_rename(config, slot, tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").write_text(name)
        (tmp_path / name / f"{name}.js").write_text(f"{name} js")
    blue, green = config.slots[1].backend_port, config.slots[2].backend_port
    with caddy(config, "main") as port, echo(blue, name="blue"), echo(green, name="green"):
        assert request(port, "/").status == 503
        activate_main(config, 1, blue, COMMIT, tmp_path / "old")
        assert request(port, "/").body == b"old"
        assert request(port, "/api/x").json["name"] == "blue"
        public = tmp_path / "new", tmp_path / "old"
        activate_main(config, 2, green, OTHER, *public, until=int(time.time()) + 3600)
        answer = request(port, "/")
        assert (answer.body, answer.headers["X-Oroboros-Commit"]) == (b"new", OTHER)
        assert answer.headers["X-Robots-Tag"] is None
        assert answer.headers["X-Oroboros-Run"] is None
        assert request(port, "/api/x").json["name"] == "green"
        assert request(port, "/old.js").body == b"old js"
        for until in (int(time.time()) - 1, 0):
            activate_main(config, 2, green, OTHER, *public, until=until)
            assert request(port, "/old.js").status == 404
        activate_main(config, 3, blue, COMMIT)
        assert request(port, "/page").json["name"] == "blue"


def test_surfaces_get_the_values_of_their_env_files():
    from host.config import load

    config = load({})
    values = surface.build_environment(config, "preview2")
    assert values["WEB_PORT"] == "3102"
    assert values["WEB_ROOT"] == str(config.var / "slots" / "preview-2")
    assert values["WEB_API_PROXY_TARGET"] == "127.0.0.1:8102"
    shifted = surface.build_environment(load({"OROBOROS_PORT_OFFSET": "12000"}), "preview2")
    assert (shifted["WEB_PORT"], shifted["WEB_API_PROXY_TARGET"]) == ("15102", "127.0.0.1:20102")
    assert surface.build_environment(config, "main")["WEB_API_PROXY_TARGET"] == "{re.live.2}"
