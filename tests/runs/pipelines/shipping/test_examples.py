"""Examples of docs/reference/manifest.md are previewed, ship, and are rolled back to.

Those in other languages need Debian's packages: ruby-bundler ruby-sinatra ruby-webrick php-cli
composer golang-go.
"""

import subprocess

import pytest

from releases.deployments import deploy_and_rollback
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.host.app.inspection.examples import read_examples
from tests.runs.pipelines.shipping.conftest import opened
from tests.runs.pipelines.shipping.world import World

pytestmark = pytest.mark.full
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

    def make(title):
        world = World(
            lambda folder: list_files(title, folder),
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


def ship(world, branch):
    world.commit(branch, {"NOTES.md": branch})
    run = operations.create_run(title=branch, branch=branch, actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "preview_ready", (run.failure_code, run.failure_detail)
    preview = world.get(world.config.slots[0].web_port).text
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run = Run.objects.get(pk=run.pk)
    assert run.status == "merged", (run.failure_code, run.failure_detail)
    assert world.get(world.config.web_port).text == preview
    return run


@pytest.mark.parametrize("title", ["Flask", "Sinatra", "PHP", "Go", "Express with pnpm"])
def test_an_example_of_the_page_is_previewed_ships_and_is_rolled_back_to(make_world, title):
    world = make_world(title)
    first, second = ship(world, "feature/first"), ship(world, "feature/second")
    answer = world.get(world.config.web_port)
    assert answer.headers["X-Oroboros-Commit"] == second.candidate_sha
    deploy_and_rollback.roll_back(world.config, first.release_id, actor="grace", reason="a test")
    answer = world.get(world.config.web_port)
    assert answer.status_code == 200
    assert answer.headers["X-Oroboros-Commit"] == first.candidate_sha
