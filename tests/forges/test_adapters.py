"""The forges' payloads as values, and the client's reading of refusals."""

import copy
import dataclasses
import functools
from datetime import UTC, datetime

import pytest

from forges.adapters.forge import OtherEvent, PayloadInvalid, PushEvent
from forges.adapters.http_client import ForgeFailed, read_retry_after
from forges.adapters.known_forges import ADAPTERS, create_forge
from forges.forge_settings import ForgeSettings, read_forge_settings
from host.config import load
from host.errors import Refused
from tests.forges import payloads
from tests.forges.fake_forge import Pull

SHA = "a" * 40
PULL = Pull(12, "feature/reactions", SHA, labels=["preview", "bug"], body="text", is_draft=True)


def adapter(kind):
    return create_forge(
        ForgeSettings(kind, "https://x", "team/shop", "label", "preview", (), "main", None, None)
    )


@pytest.mark.parametrize(
    ("kind", "event", "body"),
    [
        ("github", "pull_request", payloads.github_pull_request(PULL)),
        ("gitea", "pull_request", payloads.gitea_pull_request(PULL)),
        ("gitea", "pull_request_sync", payloads.gitea_pull_request(PULL, "synchronized")),
        ("forgejo", "pull_request_label", payloads.gitea_pull_request(PULL, "label_updated")),
        ("gitlab", "Merge Request Hook", payloads.gitlab_merge_request(PULL)),
    ],
)
def test_every_forge_describes_the_same_pull_request(kind, event, body):
    found = adapter(kind).parse_event(event, body)
    facts = found.facts
    assert (found.repository, facts.number, facts.body) == ("team/shop", 12, "text")
    assert (facts.head_branch, facts.head_sha, facts.base_branch) == (
        "feature/reactions", SHA, "main",
    )  # fmt: skip
    assert (facts.is_draft, facts.is_fork, facts.state) == (True, False, "open")
    assert facts.labels == ("preview", "bug")
    assert facts.updated_at == datetime(2026, 11, 28, 10, tzinfo=UTC)
    assert facts.author == ("7" if kind == "gitlab" else "alice")


@pytest.mark.parametrize(
    ("label", "action", "expected"),
    [("preview", "labeled", True), ("bug", "labeled", False), ("preview", "unlabeled", False),
     ("bug", "opened", True), ("bug", "synchronize", False)],
)  # fmt: skip
def test_another_label_asks_for_no_preview(label, action, expected):
    body = payloads.github_pull_request(PULL, action, label)
    assert adapter("github").parse_event("pull_request", body).is_request is expected


def test_pushes_are_of_branches():
    github = adapter("github")
    body = payloads.github_push("a/b", SHA)
    assert github.parse_event("push", body) == PushEvent("team/shop", "a/b", SHA)
    body["after"] = payloads.NO_COMMIT
    assert github.parse_event("push", body).sha == ""
    body["ref"] = "refs/tags/v1"
    assert isinstance(github.parse_event("push", body), OtherEvent)
    hook = {"ref": "refs/heads/a", "after": SHA, "project": {"path_with_namespace": "team/shop"}}
    assert adapter("gitlab").parse_event("Push Hook", hook) == PushEvent("team/shop", "a", SHA)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_events_of_other_kinds_lead_to_nothing(kind):
    for event in ("", "star", "Job Hook", "pull_request_review_comment"):
        assert isinstance(adapter(kind).parse_event(event, {}), OtherEvent)


@pytest.mark.parametrize(
    ("kind", "event"),
    [("github", "pull_request"), ("gitea", "pull_request"), ("gitlab", "Merge Request Hook")],
)
@pytest.mark.parametrize("body", [{}, {"repository": 3}, {"object_attributes": [], "action": {}}])
def test_a_body_of_another_shape_is_refused(kind, event, body):
    with pytest.raises(PayloadInvalid):
        adapter(kind).parse_event(event, body)


@pytest.mark.parametrize(
    ("kind", "event", "body", "labels"),
    [
        ("github", "pull_request", payloads.github_pull_request(PULL), ("pull_request", "labels")),
        ("gitlab", "Merge Request Hook", payloads.gitlab_merge_request(PULL), ("labels",)),
    ],
)
@pytest.mark.parametrize("value", [3, "preview", {"name": "preview"}])
def test_labels_that_are_no_list_are_refused(kind, event, body, labels, value):
    body = copy.deepcopy(body)
    *parents, last = labels
    functools.reduce(dict.__getitem__, parents, body)[last] = value
    with pytest.raises(PayloadInvalid, match="is not a list"):
        adapter(kind).parse_event(event, body)


def test_text_that_the_database_refuses_is_changed_and_a_name_with_it_is_refused():
    texts = dataclasses.replace(PULL, title="a\0b\ud800c", labels=["x\udfff"])
    facts = adapter("github").parse_event("pull_request", payloads.github_pull_request(texts)).facts
    assert (facts.title, facts.labels) == ("ab?c", ("x?",))
    for branch in ("a\0b", "a\ud800"):
        names = payloads.github_pull_request(dataclasses.replace(PULL, branch=branch))
        with pytest.raises(PayloadInvalid, match=r"head\.ref"):
            adapter("github").parse_event("pull_request", names)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "Sat, 28 Nov 2026 10:01:00 GMT"}, 60),
        ({"Retry-After": "soon"}, None),
        ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1795860030"}, 30),
        ({"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1795860030"}, None),
        ({"RateLimit-Remaining": "0", "RateLimit-Reset": "1795860030"}, 30),
    ],
)
def test_a_limit_says_how_long_to_wait(headers, seconds):
    now = datetime(2026, 11, 28, 10, tzinfo=UTC)
    assert int(now.timestamp()) == 1795860000
    assert read_retry_after(headers, now) == seconds


@pytest.mark.parametrize(
    ("status", "permanent"), [(0, False), (401, False), (404, True), (422, True), (500, False)]
)
def test_a_failure_is_permanent_if_the_same_request_cannot_succeed(status, permanent):
    assert ForgeFailed("x", http_status=status).is_permanent is permanent


@pytest.mark.parametrize(
    "environ",
    [
        {"FORGE": "bitbucket"},
        {"FORGE_REPOSITORY": "shop"},
        {"FORGE_REPOSITORY": "team/../shop"},
        {"FORGE_REPOSITORY": "team/group/shop"},
        {"FORGE_URL": "git.example.com"},
        {"FORGE_URL": "https://user:secret@git.example.com"},
        {"FORGE_URL": "https://git.example.com:port"},
        {"FORGE": "gitea"},
        {"PREVIEW_PULL_REQUESTS": "some"},
    ],
)
def test_a_wrong_setting_is_refused_by_name(environ):
    values = {"FORGE": "github", "FORGE_REPOSITORY": "team/shop", **environ}
    with pytest.raises(Refused) as refused:
        read_forge_settings(load(values))
    assert refused.value.code == "setting_invalid"
    assert next(iter(reversed(environ))) in refused.value.detail or environ == {"FORGE": "gitea"}


def test_the_settings_have_the_forges_own_addresses():
    values = {"FORGE": "gitlab", "FORGE_REPOSITORY": "team/group/shop"}
    assert read_forge_settings(load(values)).url == "https://gitlab.com"
    assert read_forge_settings(load({})) is None
