"""Nothing that a caller sends may end in anything but a coded answer."""

import json
from unittest.mock import ANY

import pytest
from django.http import Http404
from django.test import Client, RequestFactory
from django.urls import path
from drf_spectacular.generators import SchemaGenerator
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from oroboros.urls import handler400, handler404, handler500  # noqa: F401  this is a URLconf too
from releases.deployments import enqueue
from releases.presenters import activation_facts, release_facts
from tests.factories import ActivationFactory, ReleaseFactory, UserFactory
from web import api


class Echo(APIView):
    """A view as any other here, without rows."""

    authentication_classes = ()
    permission_classes = ()

    class Given(api.Input):
        ttl_seconds = api.Integer(required=False, min_value=1, max_value=100)
        owner = api.Text(required=False, max_length=10)
        reason = api.Text(required=False, multiline=True)
        force = api.Flag(required=False)

    def post(self, request):
        return Response(self.Given.given(request))


class Raises(APIView):
    authentication_classes = ()
    permission_classes = ()
    raised = Refused("rule_name", "Not now.", fields={"slot": "busy"})

    def get(self, request):
        raise self.raised


urlpatterns = [path("api/echo", Echo.as_view()), path("api/raises", Raises.as_view())]
pytestmark = pytest.mark.urls(__name__)


def post(body, content_type="application/json"):
    return Client().post("/api/echo", body, content_type=content_type)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"null", "json_not_object"),
        (b"[]", "json_not_object"),
        (b'"x"', "json_not_object"),
        (b"{", "json_invalid"),
        (b"\xff\xfe", "json_invalid"),
        (b'{"ttl_seconds": ' + b"9" * 5000 + b"}", "json_invalid"),
        (b'{"ttl_seconds": 1e309}', "json_number_invalid"),
        (b'{"ttl_seconds": NaN}', "json_number_invalid"),
        (b'{"ttl_seconds": -Infinity}', "json_number_invalid"),
        (b'{"owner": "a", "owner": "b"}', "json_duplicate_key"),
        (b'{"owner": "a\\u0000b"}', "json_text_invalid"),
        (b'{"owner": "a\\u007fb"}', "json_text_invalid"),
        (b'{"owner": "\\ud800"}', "json_text_invalid"),
        (b'{"\\ud800": 1}', "json_text_invalid"),
        (b'{"\\ud800": 1, "\\ud800": 1}', "json_duplicate_key"),
        (b'{"ttl": 60}', "unknown_field"),
        (b'{"": 60}', "unknown_field"),
        (b'{"ttl_seconds": "60"}', "invalid_input"),
        (b'{"ttl_seconds": true}', "invalid_input"),
        (b'{"ttl_seconds": 60.0}', "invalid_input"),
        (b'{"ttl_seconds": 101}', "invalid_input"),
        (b'{"owner": 5}', "invalid_input"),
        (b'{"owner": null}', "invalid_input"),
        (b'{"owner": "two\\nlines"}', "invalid_input"),
        (b'{"owner": "longer than ten"}', "invalid_input"),
        (b'{"force": "true"}', "invalid_input"),
        (b'{"force": 1}', "invalid_input"),
        (b"[" * 30_000, "json_too_deep"),
        (b'{"owner": ' + b"[" * 40 + b"]" * 40 + b"}", "json_too_deep"),
    ],
)
def test_a_body_that_is_not_as_declared_is_refused_with_a_code(body, code):
    answer = post(body)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert answer.json()["detail"]


def test_an_unknown_field_is_answered_with_the_one_that_was_meant():
    answer = post(b'{"ttl": 60}').json()
    assert answer["fields"] == {"ttl": "not known (did you mean ttl_seconds?)"}


def test_a_body_larger_than_64_kib_is_413():
    answer = post(b'{"reason": "' + b"a" * api.BODY_BYTES + b'"}')
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")


def test_a_form_is_415():
    answer = post("owner=a", "application/x-www-form-urlencoded")
    assert (answer.status_code, answer.json()["error"]) == (415, "unsupported_media_type")


def test_a_good_body_arrives_as_it_was_sent():
    body = {"ttl_seconds": 60, "owner": "zoë", "reason": "two\nlines", "force": True}
    assert post(json.dumps(body)).json() == body


def test_no_body_is_an_empty_object():
    assert Client().generic("POST", "/api/echo").json() == {}


def test_another_method_is_405_and_an_unknown_address_404():
    wrong, unknown = Client().get("/api/echo"), Client().get("/api/nowhere")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "method_not_allowed")
    assert (unknown.status_code, unknown.json()["error"]) == (404, "not_found")


def test_an_unknown_page_is_a_page_for_a_browser():
    answer = Client().get("/nowhere", headers={"accept": "text/html"})
    assert answer.status_code == 404
    assert b"<h1>" in answer.content


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (Refused("rule_name", "Not now."), 409, "rule_name"),
        (Http404("secret"), 404, "not_found"),
        (exceptions.Throttled(wait=3), 429, "too_many_requests"),
        (exceptions.ValidationError({"a": [{"b": ["bad"]}]}), 400, "invalid_input"),
    ],
)
def test_what_a_view_raises_has_one_shape(monkeypatch, raised, status, code):
    monkeypatch.setattr(Raises, "raised", raised)
    answer = Client().get("/api/raises")
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert "secret" not in answer.json()["detail"]


def test_a_bug_is_500_without_its_traceback(monkeypatch):
    monkeypatch.setattr(Raises, "raised", ZeroDivisionError("secret"))
    answer = Client(raise_request_exception=False).get("/api/raises")
    assert (answer.status_code, answer.json()["error"]) == (500, "internal_error")
    assert b"secret" not in answer.content


def test_every_answer_forbids_what_is_foreign():
    for address in ("/api/echo", "/nowhere"):
        policy = Client().get(address)["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy


def test_a_host_that_is_not_ours_is_400():
    answer = Client().get("/api/echo", headers={"host": "a.example, b.example"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_input")


def test_the_fields_of_a_nested_refusal_have_dotted_names():
    exc = exceptions.ValidationError({"a": [{"b": ["bad"]}], "non_field_errors": ["both"]})
    request = RequestFactory().get("/")
    body = api.exception_handler(exc, {"request": request}).data
    assert body["fields"] == {"a.b": "bad", "": "both"}


@pytest.mark.urls("oroboros.urls")
@pytest.mark.django_db
def test_the_schema_describes_every_address_and_the_docs_show_it(capsys):
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    schema = client.get("/api/schema/", headers={"accept": "application/vnd.oai.openapi+json"})
    assert schema.status_code == 200
    assert capsys.readouterr().err == ""
    page = client.get("/api/docs/").content.decode()
    paths = schema.json()["paths"]
    assert "/api/slots/acquire" in paths
    for address in paths:
        assert address in page
    assert "https://" not in page
    assert "http://" not in page


@pytest.mark.urls("oroboros.urls")
@pytest.mark.django_db
def test_the_schema_names_each_field_of_a_release_and_of_a_switch(monkeypatch):
    client = Client()
    client.force_login(UserFactory(groups=["operator"]))
    old = ReleaseFactory()
    live = ReleaseFactory(live=True, schema_changes=[{"kind": "adds", "text": "a column"}])
    switch = ActivationFactory(release=live, previous=old, guidance=["doctor"])
    monkeypatch.setattr(enqueue, "request_rollback", lambda *args, **given: switch)
    one = client.get(f"/api/releases/{live.pk}").json()
    asked = client.post(
        f"/api/releases/{old.pk}/rollback", {"reason": "x"}, content_type="application/json"
    )
    [listed] = client.get("/api/releases?limit=1").json()["results"]
    assert listed == release_facts(live)
    assert one == {**listed, "activations": [activation_facts(switch)], "rollback": ANY}
    assert asked.status_code == 202
    answers = {
        "ReleaseShape": listed,
        "ReleaseDetailShape": one,
        "ActivationShape": client.get(f"/api/releases/{live.pk}/activations/{switch.pk}").json(),
        "WayBackShape": one["rollback"],
        "RollbackShape": asked.json(),
    }
    known = SchemaGenerator().get_schema(public=True)["components"]["schemas"]
    for shape, answer in answers.items():
        assert (shape, set(known[shape]["properties"])) == (shape, set(answer))
