"""Receiving webhooks: what is checked, stored and answered before anything is parsed."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from forges.models import Delivery
from tests.forges import payloads
from tests.forges.kinds import EACH_FORGE
from web.server.request_buffer import HOOK_BODY_BYTES, RequestBuffer

pytestmark = pytest.mark.django_db
GITHUB_AND_ITS_LIKE = pytest.mark.parametrize("kind", ["github", "gitea", "forgejo"])


@EACH_FORGE
def test_a_signed_delivery_is_stored_and_answered_with_202(world):
    answer = world.post("pull_request", {"action": "opened"}, "one")
    assert answer.status_code == 202
    assert answer.json()["delivery_id"] == "one"
    assert answer.json()["decision"] == "queued"
    stored = Delivery.objects.get()
    assert bytes(stored.body) == b'{"action": "opened"}'
    assert payloads.SECRET not in str(stored.headers)


@EACH_FORGE
def test_a_wrong_signature_returns_401_and_stores_nothing(world):
    answer = world.post("pull_request", {"action": "opened"}, secret="another")
    assert (answer.status_code, answer.json()["error"]) == (401, "signature_invalid")
    assert not Delivery.objects.exists()


def test_no_signature_returns_401_before_the_body_is_parsed(world):
    answer = world.post_raw(b"{not json", {})
    assert answer.status_code == 401


@GITHUB_AND_ITS_LIKE
def test_a_changed_body_returns_401(world):
    raw, headers = payloads.sign(world.forge.kind, "push", {"ref": "a"}, "one")
    assert world.post_raw(raw.replace(b'"a"', b'"b"'), headers).status_code == 401


def test_the_same_delivery_again_is_answered_and_done_once(world):
    pull = world.pull()
    first = world.deliver(pull, delivery_id="one")
    answer = world.post("pull_request", world.body(pull, "opened"), "one")
    assert answer.status_code == 202
    assert answer.json() == {
        "delivery_id": "one", "decision": first.decision, "reason": first.reason,
    }  # fmt: skip
    assert Delivery.objects.get().repeats == 1


def test_a_delivery_of_another_forge_or_of_none_returns_404(world):
    raw, headers = payloads.sign("gitlab", "Push Hook", {}, "one")
    answer = world.client.post("/hooks/gitlab", raw, content_type="text/json", headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (404, "forge_not_set")
    world.configure(FORGE="")
    assert world.post("push", {}).status_code == 404


def test_a_get_returns_405_and_a_missing_secret_503(world, tmp_path):
    assert world.client.get("/hooks/github").status_code == 405
    (tmp_path / "secret").write_text("\n")
    answer = world.post("push", {})
    assert (answer.status_code, answer.json()["error"]) == (503, "secret_unreadable")


def test_a_body_above_the_limit_returns_413(world):
    raw = b"x" * (HOOK_BODY_BYTES + 1)
    answer = world.post_raw(raw, {"X-Hub-Signature-256": "sha256=0"})
    assert (answer.status_code, answer.json()["error"]) == (413, "body_too_large")
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        (b"/hooks/github", HOOK_BODY_BYTES, None),
        (b"/hooks/github", HOOK_BODY_BYTES + 1, 413),
        (b"/api/runs", HOOK_BODY_BYTES, 413),
    ],
)
def test_the_server_reads_large_bodies_of_hooks_only(path, size, status):
    buffer = RequestBuffer(0.0)
    buffer.feed(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (path, size), 0.0)
    assert buffer.status == status


def test_a_delivery_needs_no_session_and_few_queries(world):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        answer = world.post("push", {"ref": "refs/heads/main"})
    assert not answer.cookies
    assert len([one for one in queries if "SAVEPOINT" not in one["sql"]]) == 1


def test_a_delivery_without_an_id_is_the_same_if_its_body_is(world):
    for _ in range(2):
        raw, headers = payloads.sign("github", "ping", {"zen": "x"}, "")
        assert world.post_raw(raw, headers).status_code == 202
    assert Delivery.objects.get().delivery_id.startswith("sha256:")
