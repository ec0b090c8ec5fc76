"""Our requests and our reading, against what GitHub publishes: its OpenAPI description, examples.

From the npm packages @octokit/openapi and @octokit/webhooks-examples.
"""

import json
import re
import subprocess
import tarfile

import pytest
from jsonschema import Draft202012Validator

from core.clock import get_database_time
from forges.adapters import github_app
from forges.adapters.forge import (
    ChecksEvent,
    CommentEvent,
    OtherEvent,
    PullRequestEvent,
    PushEvent,
    ReviewEvent,
)
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from runs.rules import Status
from slots.models import Lease
from tests.forges.test_adapters import adapter
from tests.forges.test_github_app import write_key
from tests.forges.test_reporting import make_ready, move

pytestmark = [pytest.mark.full, pytest.mark.django_db]


def read_package(folder, name, member):
    """Return the JSON of one file of an npm package."""
    argv = ["npm", "pack", "--silent", name]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    with tarfile.open(folder / done.stdout.strip()) as archive:
        return json.load(archive.extractfile(f"package/{member}"))


@pytest.fixture(scope="module")
def description(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    return read_package(folder, "@octokit/openapi@23.0.2", "generated/api.github.com.json")


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    found = read_package(folder, "@octokit/webhooks-examples@7.6.1", "api.github.com/index.json")
    return {one["name"]: one["examples"] for one in found}


def find_operation(description, method, path):
    for template, operations in description["paths"].items():
        pattern = re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in operations:
            return operations[method.lower()]
    raise AssertionError(f"GitHub has no {method} {path}")


def check_request(description, method, path, query, body):
    operation = find_operation(description, method, path)
    parameters = [
        description["components"]["parameters"][one["$ref"].rpartition("/")[2]]
        if "$ref" in one
        else one
        for one in operation.get("parameters", [])
    ]
    assert set(query) <= {one["name"] for one in parameters if one["in"] == "query"}, path
    if body is None:
        return
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert set(body) <= set(schema["properties"]), path
    components = {"components": description["components"]}
    Draft202012Validator({**components, **schema}).validate(body)


def use_every_request(world):
    """Have the adapter send each of its requests once; returns their methods and paths."""
    has_deployments = world.forge.kind in ("github", "gitlab")
    world.configure(FORGE_DEPLOYMENTS="true" if has_deployments else "")
    pull = world.pull()
    world.deliver(pull)
    world.report()
    make_ready()
    world.comment(pull, "/keep 8h")
    world.report()
    move(Status.MERGED, ended_at=get_database_time())
    Lease.objects.update(state="ended")
    world.report()
    forge = create_forge(read_forge_settings(world.config))
    forge.list_open_pull_requests()
    pull.reviews = [("alice", "APPROVED", pull.sha)]
    forge.list_approvals(pull.number)
    forge.list_checks(pull.sha)
    forge.describe_access()
    forge.describe_hook()
    forge.merge(pull.number, pull.sha)
    return {
        (method, re.sub("[0-9a-f]{40}|[0-9]+", "N", path))
        for method, path, *_ in world.forge.requests
    }


def test_every_request_is_one_that_the_description_allows(world, description):
    sent = use_every_request(world)
    assert len(sent) == 17, sorted(sent)
    for request in world.forge.requests:
        check_request(description, *request)


def test_every_request_of_an_app_is_one_that_the_description_allows(world, description, tmp_path):
    world.forge.app_key = write_key(tmp_path / "app.pem")
    world.configure(
        FORGE_TOKEN_FILE="", FORGE_APP_ID="77", FORGE_APP_KEY_FILE=str(tmp_path / "app.pem")
    )
    forge = create_forge(read_forge_settings(world.config))
    forge.describe_access()
    forge.describe_hook()
    github_app._tokens.clear()
    assert len(world.forge.requests) == 4
    for request in world.forge.requests:
        check_request(description, *request)


def test_every_published_delivery_is_read(examples):
    github = adapter("github")
    kinds = {
        "pull_request": PullRequestEvent,
        "push": PushEvent,
        "ping": OtherEvent,
        "issue_comment": CommentEvent,
        "pull_request_review": ReviewEvent,
        "status": ChecksEvent,
        "check_run": ChecksEvent,
        "check_suite": ChecksEvent,
    }
    for name, kind in kinds.items():
        for body in examples[name]:
            found = github.parse_event(name, body)
            assert isinstance(found, (kind, OtherEvent)), (name, found)
    for name, bodies in examples.items():
        if name not in kinds:
            assert all(isinstance(github.parse_event(name, one), OtherEvent) for one in bodies)


def test_the_published_answers_are_read(description):
    shapes = description["components"]["examples"]
    github = adapter("github")
    pull = github.parse_pull_request(shapes["pull-request"]["value"])
    assert (pull.number, pull.head_sha) == (1347, "6dcb09b5b57875f334f61aebed695e2e4193db5e")
    [listed] = map(github.parse_pull_request, shapes["pull-request-simple-items"]["value"])
    assert listed.number == 1347
