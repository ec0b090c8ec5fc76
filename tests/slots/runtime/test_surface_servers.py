"""A surface with several servers: which of them answers a path, and what its health means."""

from contextlib import ExitStack

import pytest

from host.files.surface_folder import LiveRoutes, ServerProbe, build_route_pattern
from slots.runtime import surface
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import COMMIT, build_public, request


@pytest.fixture
def show(config, slot):
    """Return a function that shows a preview whose layers are (name, paths); web is the backend."""

    def show(*layers, public=None, probes=()):
        ports = {"web": slot.backend_port, "one": slot.server_ports[0], "two": slot.server_ports[1]}
        address = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        routes = LiveRoutes(
            layers=tuple((address[name], build_route_pattern(paths)) for name, paths in layers),
            servers=tuple(
                ServerProbe(address[name], path, is_guess) for name, path, is_guess in probes
            ),
        )
        surface.show_live(config, slot, 17, COMMIT, public, routes=routes)
        return ports

    return show


@pytest.fixture
def serve():
    """Return a function that serves `Echo` under names on ports until the test ends."""
    with ExitStack() as stack:

        def serve(ports, **attributes):
            return {
                name: stack.enter_context(echo(port, name=name, **attributes.get(name, {})))
                for name, port in ports.items()
            }

        yield serve


def name_of(web, path, method="GET", **headers):
    return request(web, path, method, **headers).json["name"]


def test_the_first_layer_that_has_a_path_answers_it(web, slot, show, serve):
    public = build_public(slot, index_html="home")
    ports = show(
        ("one", ["/api/auth/*"]),
        ("web", ["/api/*", "/admin/*", "/docs"]),
        ("two", ["/cms/*"]),
        ("one", ["/*"]),
        public=public,
    )
    serve(ports)
    for path, name in {
        "/api/auth/x": "one",
        "/api": "web",
        "/api/x?y=1": "web",
        "/admin/": "web",
        "/docs": "web",
        "/docs/x": "one",
        "/cms/a/b": "two",
        "/": "one",
        "/index.html": "one",
        "/.well-known/x": "one",
    }.items():
        assert name_of(web, path) == name, path
    assert name_of(web, "/form", "POST", body="x") == "one"
    answer = request(web, "/", Cookie="oroboros_session=x; a=1")
    assert (answer.status, answer.headers["X-Oroboros-Run"]) == (200, "17")
    assert ["cookie", "a=1"] in answer.json["headers"]


def test_the_surface_is_healthy_only_if_all_servers_are(web, show, serve):
    ports = show(("one", ["/*"]), probes=[("one", "/up", False), ("two", "/", True)])
    assert request(web, "/health").status == 503
    running = serve(ports, one={"statuses": {"/up": 204}}, two={"statuses": {"/": 404}})
    answer = request(web, "/health", "POST", "body", Cookie="a=1")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert [one["path"] for one in running["one"].requests] == ["/up"]
    sent = running["one"].requests[0]
    assert (sent["method"], sent["body"]) == ("GET", "")
    assert "cookie" not in dict(sent["headers"])


@pytest.mark.parametrize(("name", "status"), [("one", 302), ("two", 500)])
def test_a_server_that_is_not_healthy_makes_the_surface_unhealthy(web, show, serve, name, status):
    ports = show(("one", ["/*"]), probes=[("one", "/up", False), ("two", "/", True)])
    serve(ports, **{name: {"statuses": {"/up": status, "/": status}}})
    answer = request(web, "/health")
    assert answer.status == 503
    assert answer.json["reason"] == (
        f"The health check of the server at 127.0.0.1:{ports[name]} answered {status}."
    )
