"""The OpenAPI schema, and Swagger UI without foreign hosts and inline scripts."""

import json
import re
from unittest.mock import ANY

import pytest
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from releases.deployments import enqueue
from releases.presenters import present_deployment, present_release
from tests.factories import DeploymentFactory, ReleaseFactory, UserFactory
from web.security_headers import API_DOCS_POLICY

pytestmark = pytest.mark.django_db
JSON = {"accept": "application/vnd.oai.openapi+json"}


@pytest.fixture
def viewer():
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    return client


def test_the_schema_describes_every_address_without_a_warning(viewer, capsys):
    response = viewer.get("/api/schema/", headers=JSON)
    assert response.status_code == 200
    assert capsys.readouterr().err == ""
    assert {"/api/slots/acquire", "/api/runs/{run_id}"} <= set(response.json()["paths"])


def test_the_docs_load_nothing_from_other_hosts_and_have_no_inline_script(viewer):
    page = viewer.get("/api/docs/")
    text = page.content.decode()
    assert (page.status_code, "http://" in text, "https://" in text) == (200, False, False)
    assert page["Content-Security-Policy"] == API_DOCS_POLICY
    assert "unsafe-inline" not in API_DOCS_POLICY.replace("style-src 'self' 'unsafe-inline'", "")
    assert re.findall(r"<script(?![^>]* src=)", text) == []
    files = re.findall(r'(?:src|href)="/static/([^"]+)"', text)
    assert len(files) == 5
    assert [name for name in files if finders.find(name) is None] == []


def test_the_docs_start_script_names_the_schema(viewer):
    script = viewer.get("/api/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/schema/" in script.content.decode()


def test_an_anonymous_browser_is_redirected_to_the_login():
    response = Client().get("/api/docs/", headers={"accept": "text/html"})
    assert (response.status_code, response["Location"]) == (
        302,
        "/admin/login/?next=%2Fapi%2Fdocs%2F",
    )


def test_the_schema_has_each_field_of_releases_and_deployments(monkeypatch):
    client = Client()
    client.force_login(UserFactory(groups=["operator"]))
    old = ReleaseFactory()
    live = ReleaseFactory(live=True, schema_changes=[{"kind": "adds", "text": "a column"}])
    deployment = DeploymentFactory(release=live, previous=old, guidance=["doctor"])
    monkeypatch.setattr(enqueue, "enqueue_rollback", lambda *args, **kwargs: deployment)
    detail = client.get(f"/api/releases/{live.pk}").json()
    rollback = client.post(
        f"/api/releases/{old.pk}/rollback", {"reason": "x"}, content_type="application/json"
    )
    [listed] = client.get("/api/releases?limit=1").json()["results"]
    assert listed == present_release(live)
    assert detail == {
        **listed,
        "activations": [present_deployment(deployment)],
        "rollback": ANY,
        "processes": [],
    }
    assert rollback.status_code == 202
    address = f"/api/releases/{live.pk}/activations/{deployment.number}"
    answers = {
        "Release": listed,
        "ReleaseDetail": detail,
        "Deployment": client.get(address).json(),
        "RollbackPlan": detail["rollback"],
        "Rollback": rollback.json(),
    }
    components = SchemaGenerator().get_schema(public=True)["components"]["schemas"]
    for name, answer in answers.items():
        assert (name, set(components[name]["properties"])) == (name, set(answer))


def test_the_components_of_requests_and_results_are_named_after_the_operation():
    names = set(SchemaGenerator().get_schema(public=True)["components"]["schemas"])
    assert {
        "AcquireRequest",
        "AcquireResult",
        "HeartbeatRequest",
        "HeartbeatResult",
        "ReleaseRequest",
        "ReleaseResult",
        "ReasonRequest",
        "Run",
        "RunDetail",
        "Slot",
    } <= names
    assert [name for name in names if name.endswith(("Serializer", "Shape", "ing"))] == []


def test_the_schema_states_the_errors_and_the_limits_of_bodies():
    schema = SchemaGenerator().get_schema(public=True)
    assert schema["openapi"].startswith("3.1")
    assert '"nullable"' not in json.dumps(schema)
    create = schema["paths"]["/api/runs"]["post"]["responses"]
    assert {"201", "400", "401", "403", "404", "409", "413", "415", "429", "503"} <= set(create)
    assert all(len(answer["content"]) == 1 for answer in create.values())
    body = schema["components"]["schemas"]["CreateRunRequest"]
    assert body["additionalProperties"] is False
    assert body["properties"]["commit"]["pattern"] == "^[0-9a-f]{40}$"
    assert not re.match(body["properties"]["title"]["pattern"], "two\nlines")
    assert not re.match(body["properties"]["title"]["pattern"], "  ")
    [file] = schema["paths"]["/api/runs/{run_id}/artifacts/{name}"]["get"]["responses"]["200"][
        "content"
    ]
    assert file == "text/plain"
    reject = schema["components"]["schemas"]["ReasonRequest"]["properties"]["reason"]
    assert len(reject["pattern"]) < 1000
    retry = schema["paths"]["/api/runs/{run_id}/retry"]["post"]
    assert {"413", "415"} <= set(retry["responses"])
    cancel = schema["components"]["schemas"]["CancelRequest"]["properties"]["reason"]
    assert re.match(cancel["pattern"], "")


@pytest.mark.parametrize(
    ("body", "field", "is_multiline"),
    [
        ("CommentRequest", "text", True),
        ("VariableRequest", "value", True),
        ("SettingRequest", "value", False),
        ("SettingRequest", "reason", True),
        ("CreateRunRequest", "title", False),
    ],
)
def test_the_schema_allows_several_lines_where_the_field_does(body, field, is_multiline):
    schema = SchemaGenerator().get_schema(public=True)["components"]["schemas"][body]
    pattern = schema["properties"][field]["pattern"]
    assert bool(re.match(pattern, "two\nlines")) == is_multiline


def test_the_schema_states_what_the_api_refuses():
    schema = SchemaGenerator().get_schema(public=True)
    bodies, paths = schema["components"]["schemas"], schema["paths"]
    assert bodies["ApproveRequest"]["required"] == ["commit_sha"]
    assert bodies["CreateRunRequest"]["not"] == {"required": ["branch", "commit"]}
    assert {"required": ["branch"]} in bodies["CreateRunRequest"]["anyOf"]
    approve = paths["/api/runs/{run_id}/approve"]["post"]
    for operation in (paths["/api/runs"]["post"], approve):
        assert operation["requestBody"]["required"] is True
    parameters = {
        parameter["name"]: parameter["schema"]
        for methods in paths.values()
        for operation in methods.values()
        for parameter in operation.get("parameters", ())
    }
    assert parameters["limit"]["minimum"] == 1
    assert re.fullmatch(parameters["release_id"]["pattern"], "r-20261125120000-012345abcdef")
    assert not re.fullmatch(parameters["slot_id"]["pattern"], "preview-0")
    assert parameters["run_id"]["format"] == "uuid"


def test_the_schema_says_which_texts_of_a_query_are_refused():
    """A null character: a text without a pattern would be valid with one."""
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    parameters = [
        (path, one["name"], one["schema"])
        for path, methods in paths.items()
        for operation in methods.values()
        for one in operation.get("parameters", ())
        if one["in"] == "query" and one["schema"].get("type") == "string"
    ]
    assert ("/api/runs", "branch", {"type": "string", "pattern": "^[^\\u0000]*$"}) in parameters
    stated = {"enum", "format", "pattern"}
    assert [one for one in parameters if not stated & one[2].keys()] == []
