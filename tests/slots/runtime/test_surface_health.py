"""What /health of a surface means, served by the real Caddy."""

import shutil

import pytest

from host.deadline import Deadline
from host.files.surface_folder import SurfaceFolder
from slots.runtime import surface
from tests.slots.runtime.answering_backend import echo
from tests.slots.runtime.surface_server import (
    COMMIT,
    OTHER,
    activate_main,
    build_public,
    caddy,
    request,
)


def unavailable(response, status="unavailable"):
    """Return the reason of a surface that cannot do its job."""
    assert (response.status, response.json["status"]) == (503, status)
    assert response.headers["Content-Type"] == "application/json"
    return response.json["reason"]


ALIASES = ("/health", "/healthz", "/readyz")


def test_health_of_a_free_slot_is_that_of_its_idle_page(web, start_idle_page):
    for path in ALIASES:
        assert unavailable(request(web, path)) == "The backend does not answer its health check."
    start_idle_page()
    for path in ALIASES:
        assert (request(web, path).status, request(web, path).json) == (200, {"status": "idle"})


def test_health_of_a_preparing_slot_is_200_without_a_backend(web, config, slot):
    surface.show_preparing(config, slot, "17", COMMIT)
    answer = request(web, "/health")
    assert (answer.status, answer.json) == (200, {"status": "preparing"})


@pytest.mark.parametrize("frontend", [True, False])
def test_health_of_a_preview_is_200_only_while_its_backend_is_healthy(web, config, slot, frontend):
    public = build_public(slot, index_html="home") if frontend else None
    surface.show_live(config, slot, 17, COMMIT, public, "/api/ready?full=1")
    statuses = {"/health": 500, "/api/ready?full=1": 200}
    with echo(slot.backend_port, statuses=statuses) as backend:
        for path in ALIASES:
            answer = request(web, path, "POST", "body", Cookie="a=1")
            assert (answer.status, answer.json) == (200, {"status": "ok"})
            assert answer.headers["X-Oroboros-Run"] == "17"
            assert answer.headers["X-Oroboros-Commit"] == COMMIT
        sent = backend.requests[-1]
        assert (sent["method"], sent["path"], sent["body"]) == ("GET", "/api/ready?full=1", "")
        headers = dict(sent["headers"])
        assert headers["host"] == f"{config.shared_host(slot)}:{slot.web_port}"
        assert "cookie" not in headers
        statuses["/api/ready?full=1"] = 302
        assert "answered 302" in unavailable(request(web, "/health"))
        statuses["/api/ready?full=1"] = 500
        assert "answered 500" in unavailable(request(web, "/health"))
    answer = request(web, "/health")
    assert "does not answer" in unavailable(answer)
    assert answer.headers["X-Oroboros-Commit"] == COMMIT


def test_health_of_a_preview_whose_backend_hangs_is_503_soon(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with echo(slot.backend_port, hanging_paths=["/health"]):
        deadline = Deadline(50)  # below that of the client
        assert "does not answer" in unavailable(request(web, "/health"))
        assert not deadline.has_passed


def test_health_of_a_preview_without_a_backend_is_that_of_its_files(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, build_public(slot, index_html="home"), None)
    assert request(web, "/health").json == {"status": "ok"}
    shutil.rmtree(slot.folder / "current" / "public")
    assert unavailable(request(web, "/health")) == "The built frontend is missing."


def test_health_of_main_is_200_only_with_a_live_release_its_files_and_a_healthy_backend(
    config, slot, tmp_path
):
    public, port = tmp_path / "public", slot.backend_port
    public.mkdir()
    with caddy(config, "main") as main:
        assert unavailable(request(main, "/health"), "no_release") == "No release is live yet."
        activate_main(config, 1, port, COMMIT, public, health_path="/up")
        assert "does not answer" in unavailable(request(main, "/health"))
        with echo(port, statuses={"/health": 404}) as backend:
            answer = request(main, "/health")
            assert (answer.status, answer.headers["X-Oroboros-Commit"]) == (200, COMMIT)
            assert dict(backend.requests[-1]["headers"])["host"] == f"127.0.0.1:{port}"
            public.rmdir()
            assert unavailable(request(main, "/health")) == "The built frontend is missing."
            activate_main(config, 2, port, OTHER, health_path="/health")
            assert "answered 404" in unavailable(request(main, "/health"))
        public.mkdir()
        activate_main(config, 3, port, OTHER, public, health_path=None)
        assert request(main, "/health").json == {"status": "ok"}
        SurfaceFolder(config.var).clear()
        assert unavailable(request(main, "/health"), "no_release") == "No release is live yet."


def test_health_of_a_preview_with_a_guessed_path_is_200_for_every_answer_below_500(
    web, config, slot
):
    surface.show_live(config, slot, 17, COMMIT, None, "/", is_health_guess=True)
    statuses = {}
    with echo(slot.backend_port, statuses=statuses):
        for status in (200, 302, 401, 404):
            statuses["/"] = status
            assert (request(web, "/health").status, status) == (200, status)
        for status in (500, 503):
            statuses["/"] = status
            assert f"answered {status}" in unavailable(request(web, "/health"))
