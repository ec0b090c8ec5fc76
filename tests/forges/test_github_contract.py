"""Our requests and our reading, against what GitHub publishes: its OpenAPI description, examples.

From the npm packages @octokit/openapi and @octokit/webhooks-examples.
"""

import json
import re
import subprocess
import tarfile

import pytest
from jsonschema import Draft202012Validator

from forges.adapters.forge import (
    ChecksEvent,
    CommentEvent,
    OtherEvent,
    PullRequestEvent,
    PushEvent,
    ReviewEvent,
)
from forges.reporting import outbox
from tests.forges.test_adapters import adapter
from tests.forges.test_reporting import make_ready

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


def test_every_request_is_one_that_the_description_allows(world, description):
    pull = world.pull()
    world.deliver(pull)
    outbox.report(world.config)
    make_ready()
    world.comment(pull, "/keep 8h")
    outbox.report(world.config)
    forge = adapter("github")
    forge.settings = outbox.read_forge_settings(world.config)
    forge.list_open_pull_requests()
    forge.list_approvals(pull.number)
    forge.list_checks(pull.sha)
    forge.merge(pull.number, pull.sha)
    sent = {
        (method, re.sub("[0-9a-f]{40}|[0-9]+", "N", path))
        for method, path, *_ in world.forge.requests
    }
    assert len(sent) == 12, sent
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
