"""Examples of docs/reference/manifest.md are previewed, ship, and are rolled back to.

Those in other languages need the packages of TOOLCHAINS in ops/project_checks.py.
"""

import subprocess

import pytest
import requests

from releases.deployments import deploy_and_rollback
from releases.deployments.deploy_commit import deploy_commit
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.host.app.inspection.examples import read_examples
from tests.runs.pipelines.shipping.conftest import opened
from tests.runs.pipelines.shipping.framework_samples import (
    DJANGO_AND_VITE,
    FASTAPI_AND_REACT,
    NEXT_AND_FASTAPI,
)
from tests.runs.pipelines.shipping.world import World

EXAMPLES = {example.title: example for example in read_examples()}


# Lock files that are made anew: of this distribution's gems, and where the page shortens it.
LOCKS = {
    "Gemfile.lock": ("Gemfile", ["bundle", "lock", "--local"]),
    "pnpm-lock.yaml": (
        "package.json",
        ["npm", "exec", "--yes", "pnpm@10.34.8", "--", "install", "--lockfile-only"],
    ),
}


def list_files(title, folder):
    """Return the example's files, with complete lock files."""
    files = dict(EXAMPLES[title].files)
    for lock in LOCKS.keys() & files.keys():
        source, command = LOCKS[lock]
        (folder / source).write_text(files[source])
        subprocess.run(command, cwd=folder, check=True)
        files[lock] = (folder / lock).read_text()
    return files


@pytest.fixture
def make_world(transactional_db, settings, monkeypatch):
    """Return a function that makes a host whose main is an example; it is removed afterwards."""
    made = []

    def make(title, more=None):
        world = World(
            lambda folder: list_files(title, folder) | (more or {}),
            OROBOROS_PRODUCTION_DATABASE="app_production_example",
        )
        context = opened(world, settings, monkeypatch)
        context.__enter__()
        made.append((world, context))
        return world

    yield make
    for world, context in made:
        context.__exit__(None, None, None)
        world.close()


def ship(world, branch, look=lambda port: None, *, has_same_page=True):
    """Ship a branch; `look` is called with the port of the preview and, after it, production's.

    `has_same_page`: the page of both builds is the same, byte for byte.
    """
    world.commit(branch, {"NOTES.md": branch})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "preview_ready", (run.failure_code, run.failure_detail)
    look(world.config.slots[0].web_port)
    preview = world.get(world.config.slots[0].web_port).text
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run = Run.objects.get(pk=run.pk)
    assert run.status == "merged", (run.failure_code, run.failure_detail)
    assert not has_same_page or world.get(world.config.web_port).text == preview
    look(world.config.web_port)
    return run


def read_asset(world, port):
    """Return the script that the built page names."""
    page = world.get(port).text
    name = page.partition('src="')[2].partition('"')[0]
    assert name.startswith("/assets/"), page
    asset = world.get(port, name)
    assert asset.status_code == 200
    return asset.text


def roll_back(world, run):
    deploy_and_rollback.roll_back(world.config, run.release_id, actor="grace", reason="a test")
    answer = world.get(world.config.web_port)
    assert answer.headers["X-Oroboros-Commit"] == run.candidate_sha


def test_the_example_of_flask_is_previewed_ships_and_is_rolled_back_from(make_world):
    world = make_world("Flask")
    first, _ = deploy_commit(world.config, world.remote_main(), actor="ada", reason="a test")
    second = ship(world, "feature/first")
    deploy_and_rollback.roll_back(world.config, first.pk, actor="grace", reason="a test")
    answer = world.get(world.config.web_port)
    assert (answer.status_code, answer.text) == (200, "hello")
    commit = answer.headers["X-Oroboros-Commit"]
    assert commit == first.commit_sha != second.candidate_sha


@pytest.mark.full
@pytest.mark.parametrize("title", ["Sinatra", "PHP", "Go", "Express with pnpm"])
def test_an_example_of_the_page_is_previewed_ships_and_is_rolled_back_to(make_world, title):
    world = make_world(title)
    first, second = ship(world, "feature/first"), ship(world, "feature/second")
    answer = world.get(world.config.web_port)
    assert answer.headers["X-Oroboros-Commit"] == second.candidate_sha
    roll_back(world, first)
    assert world.get(world.config.web_port).status_code == 200


@pytest.mark.full
def test_django_with_its_admin_and_uploads_beside_a_vite_frontend(make_world):
    world = make_world("Django beside a Vite frontend", DJANGO_AND_VITE)
    production = world.config.web_port

    def look(port):
        assert "/api/items" in read_asset(world, port)
        assert "csrfmiddlewaretoken" in world.get(port, "/admin/login/").text
        assert world.get(port, "/static/admin/css/base.css").status_code == 200

    def upload(port, name):
        picture = {"picture": (name, b"x" * 3_000_000)}
        answer = requests.post(f"http://127.0.0.1:{port}/api/items", files=picture, timeout=30)
        assert answer.json()["items"][-1] == name
        assert len(world.get(port, f"/media/{name}").content) == 3_000_000

    first = ship(world, "feature/first", look)
    upload(production, "of-production.png")
    seen = []

    def look_and_upload(port):
        look(port)
        if port != production:
            assert world.get(port, "/media/of-production.png").status_code == 404
            assert world.get(port, "/api/items").json() == {"items": []}
            upload(port, "of-the-preview.png")
            seen.append(port)

    ship(world, "feature/second", look_and_upload)
    assert seen == [world.config.slots[0].web_port]
    assert_has_its_uploads(world)
    roll_back(world, first)
    assert_has_its_uploads(world)


def assert_has_its_uploads(world):
    """Assert that production has what was uploaded there, and nothing of the preview."""
    production = world.config.web_port
    assert world.get(production, "/api/items").json() == {"items": ["of-production.png"]}
    assert world.get(production, "/media/of-production.png").status_code == 200
    assert world.get(production, "/media/of-the-preview.png").status_code == 404


@pytest.mark.full
def test_fastapi_with_alembic_and_a_react_frontend(make_world):
    world = make_world("FastAPI with Alembic, and a React frontend", FASTAPI_AND_REACT)
    production = world.config.web_port

    def look(port):
        assert "Items of the shop" in read_asset(world, port)
        assert "Swagger UI" in world.get(port, "/docs").text
        assert "/api/items" in world.get(port, "/openapi.json").json()["paths"]
        if port != production:
            assert world.get(port, "/api/items").json() == {"items": []}

    first = ship(world, "feature/first", look)
    added = requests.post(f"http://127.0.0.1:{production}/api/items/apple", timeout=30)
    assert added.json() == {"items": ["apple"]}
    ship(world, "feature/second", look)
    roll_back(world, first)
    look(production)
    assert world.get(production, "/api/items").json() == {"items": ["apple"]}


@pytest.mark.full
def test_next_beside_fastapi(make_world, tmp_path):
    (tmp_path / "package.json").write_text(NEXT_AND_FASTAPI["frontend/package.json"])
    subprocess.run(["npm", "install", "--package-lock-only"], cwd=tmp_path, check=True)
    lock = {"frontend/package-lock.json": (tmp_path / "package-lock.json").read_text()}
    world = make_world("Next.js beside FastAPI", NEXT_AND_FASTAPI | lock)

    def look(port):
        page = world.get(port)
        commit = page.headers["X-Oroboros-Commit"]
        # Pages and API are of one commit, and the page was made from what the API answers.
        assert page.text.partition("<h1>")[2].partition("</h1>")[0].endswith(commit)
        assert world.get(port, "/api/items").json() == {"commit": commit}
        assert "Swagger UI" in world.get(port, "/docs").text

    first = ship(world, "feature/first", look, has_same_page=False)
    ship(world, "feature/second", look, has_same_page=False)
    roll_back(world, first)
    look(world.config.web_port)
