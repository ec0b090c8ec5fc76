"""Which requests reach the backend beside a built frontend, and how files are cached and packed."""

import gzip
import http.client
import socket
from dataclasses import replace

import pytest

from host.files.surface_folder import LiveRoutes, SurfaceFolder, build_route_pattern
from releases.production import current_link
from slots.runtime import surface
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, activate_main, build_public, caddy, request

ROUTES = ("/admin/*", "/graphql", "/.well-known/x")
DETECTED = ("/static/*", "/docs")


@pytest.fixture
def application(web, config, slot):
    """A frontend with a backend and routes; returns the surface's port."""
    public = build_public(slot, index_html="home", app_js="js", docs="FILE")
    (public / "static").mkdir()
    (public / "static" / "app.js").write_text("mine")
    routes = LiveRoutes(build_route_pattern(ROUTES), build_route_pattern(DETECTED))
    surface.show_live(config, slot, 17, COMMIT, public, routes=routes)
    with echo(slot.backend_port):
        yield web


def answer_of(port, path, method="GET", **headers):
    """Return the path that the backend was asked for, or what the frontend answered."""
    response = request(port, path, method, **headers)
    is_backend = response.headers["Content-Type"] == "application/json"
    return ("backend", response.json["path"]) if is_backend else response.body.decode()


def test_routes_and_what_no_file_can_answer_reach_the_backend(application, config, slot):
    for path in ("/admin", "/admin/", "/admin/x/?y=1", "/graphql", "/.well-known/x"):
        assert answer_of(application, path, Accept="text/html") == ("backend", path)
    for path in ("/administration", "/graphql/x", "/xadmin/", "/Admin"):
        assert answer_of(application, path, Accept="text/html") == "home", path
    # A detected route leaves the frontend's own files to it.
    assert answer_of(application, "/static/app.js") == "mine"
    assert answer_of(application, "/docs") == "FILE"
    assert answer_of(application, "/static/admin/base.css") == ("backend", "/static/admin/base.css")
    for method in ("POST", "OPTIONS"):
        assert answer_of(application, "/any/form", method) == ("backend", "/any/form")
    events = answer_of(application, "/events", Accept="text/event-stream")
    assert events == ("backend", "/events")
    path = "/.well-known/openid-configuration"
    assert answer_of(application, path) == ("backend", path)
    # The next run's routes count from the switch on.
    public = build_public(slot, "other", index_html="other")
    surface.show_live(
        config, slot, 18, COMMIT, public, routes=LiveRoutes(build_route_pattern(["/graphql/*"]))
    )
    assert answer_of(application, "/admin/", Accept="text/html") == "other"
    assert answer_of(application, "/graphql/x") == ("backend", "/graphql/x")


def test_a_websocket_passes_on_any_path_and_an_upload_has_no_limit_of_ours(application):
    size = 6 * 1024 * 1024
    response = request(application, "/admin/upload", "POST", b"x" * size)
    assert len(response.json["body"]) == size
    with socket.create_connection(("127.0.0.1", application), timeout=60) as client:
        client.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        received = client.recv(4096)
        assert received.startswith(b"HTTP/1.1 101")
        client.sendall(b"hello")
        while b"echo hello" not in received:
            chunk = client.recv(4096)
            assert chunk, received
            received += chunk


def send_events(handler):
    """Send one event, and the second one when the test has read the first."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    for number in (1, 2):
        handler.wfile.write(b"data: %d\n\n" % number)
        handler.wfile.flush()
        handler.server.go_on.wait(600)
    handler.close_connection = True


def test_events_are_sent_at_once_and_the_browsers_compression_does_not_hold_them(web, config, slot):
    public = build_public(slot, index_html="home")
    surface.show_live(config, slot, 17, COMMIT, public, routes=LiveRoutes("^/feed$"))
    with echo(slot.backend_port, do_GET=send_events) as server:
        connection = http.client.HTTPConnection("127.0.0.1", web, timeout=60)
        connection.request("GET", "/feed", headers={"Accept-Encoding": "gzip"})
        response = connection.getresponse()
        assert response.readline() == b"data: 1\n"
        server.go_on.set()
        assert b"data: 2\n" in response.read()
        connection.close()


def test_files_are_compressed_where_it_helps_and_ranges_are_of_the_file_itself(application, slot):
    text = "const words = 'hello';\n" * 200
    folder = SurfaceFolder(slot.folder)
    number = folder.read_current().number
    (folder.version(number) / "public" / "long.js").write_text(text)
    packed = request(application, "/long.js", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body).decode() == text
    assert "Accept-Encoding" in packed.headers["Vary"]
    part = request(application, "/long.js", Accept_Encoding="gzip", Range="bytes=6-10")
    assert (part.status, part.body) == (206, b"words")
    assert request(application, "/long.js").headers["Content-Encoding"] is None
    assert request(application, "/app.js", "HEAD").body == b""


def test_production_lets_browsers_keep_hashed_files_and_no_others(config, slot, tmp_path):
    names = ("index.html", "app.js", "app-DiGsd3kf.js", "logo.8f9a1b2c.png", "iPhone8s.png")
    public = tmp_path / "public"
    for name in (*names, "deep/main.073c9b0a.chunk.js"):
        (public / name).parent.mkdir(exist_ok=True)
        (public / name).write_text(name)
    with caddy(config, "main") as port, echo(slot.backend_port):
        activate_main(config, 1, slot.backend_port, COMMIT, public)
        live = replace(current_link.read(config), number=2)
        current_link.write(config, live, public, None)
        current_link.switch(config, 2)
        cached = {
            name: request(port, f"/{name}").headers["Cache-Control"]
            for name in (*names[1:], "deep/main.073c9b0a.chunk.js", "", "index.html", "a/route")
        }
        backend = request(port, "/api/x").headers["Cache-Control"]
    long = "public, max-age=31536000, immutable"
    assert cached == {
        "app.js": "no-cache",
        "app-DiGsd3kf.js": long,
        "logo.8f9a1b2c.png": long,
        "iPhone8s.png": "no-cache",
        "deep/main.073c9b0a.chunk.js": long,
        "": "no-cache",
        "index.html": "no-cache",
        "a/route": "no-cache",
    }
    assert backend is None
