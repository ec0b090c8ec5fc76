"""The run endpoints: permissions, answers, and refusals."""

import uuid
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.authentication import HostAuthentication
from accounts.reserved_names import HOST_NAME
from accounts.tokens import create_token
from host.errors import Refused
from runs.api import runs as api
from runs.lifecycle import operations
from runs.rules import Status
from slots.models import Slot
from slots.rules import Capacity, LeaseState
from tests.factories import (
    ApprovalFactory,
    EventFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    SlotFactory,
    StepFactory,
)
from web.permissions import ABILITIES, Principal

pytestmark = pytest.mark.django_db
ALL = ["view", "hold", "approve", "operate"]
ME = "token test-view-hold-approve-operate"


def make_client(*abilities):
    secret = create_token("test-" + "-".join(abilities), list(abilities), created_by="tests")
    return Client(headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def client():
    return make_client(*ALL)


@pytest.fixture
def calls(monkeypatch):
    """Replaces the functions of `runs.lifecycle.operations`; the list of their calls."""
    recorded = []

    def replacement(name):
        def record(run=None, **kwargs):
            recorded.append((name, run, kwargs))
            row = run or RunFactory(title=kwargs.get("title", ""))
            return (row, True) if name == "request_run" else row

        return record

    for name in ("request_run", "approve", "reject", "cancel", "retry", "keep"):
        monkeypatch.setattr(operations, name, replacement(name))
    return recorded


def post(client, path, body=None):
    return client.post(path, body if body is not None else {}, content_type="application/json")


def test_a_run_is_created_for_the_requester(client, calls):
    answer = post(client, "/api/runs", {"title": "Reactions", "branch": "feature/reactions"})
    assert answer.status_code == 201
    assert answer["Location"] == f"/api/runs/{answer.json()['id']}"
    [(_, _, kwargs)] = calls
    assert kwargs == {
        "title": "Reactions",
        "branch": "feature/reactions",
        "prepare": True,
        "actor": ME,
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"title": "x", "branch": "a", "commit": "b"}, "source_ambiguous"),
        ({"branch": "a"}, "invalid_input"),
        ({"title": ""}, "invalid_input"),
        ({"title": 5}, "invalid_input"),
        ({"title": "x" * 201}, "invalid_input"),
        ({"title": "x", "brunch": "a"}, "unknown_field"),
        ({"title": "x", "prepare": "yes"}, "invalid_input"),
        ({"title": "x", "priority": "1"}, "invalid_input"),
        ({"title": "x", "priority": -(2**15)}, "invalid_input"),
        ({"title": "x", "priority": 2**15}, "invalid_input"),
        ({"title": "x"}, "source_required"),
    ],
)
def test_a_malformed_run_request_returns_400_and_creates_none(client, body, code):
    answer = post(client, "/api/runs", body)
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert api.Run.objects.count() == 0


@pytest.mark.parametrize(
    ("ref", "code"),
    [
        ("-uorigin", "ref_invalid"),
        ("--output=/etc/cron.d/x", "ref_invalid"),
        ("main --force", "ref_invalid"),
        ("a..b", "ref_invalid"),
        ("@", "ref_invalid"),
        ("HEAD", "ref_invalid"),
        ("FETCH_HEAD", "ref_invalid"),
        ("feature:main", "ref_invalid"),
        (":/fix bug", "ref_invalid"),
        ("feature.lock", "ref_invalid"),
        ("x" * 201, "ref_too_long"),
        (" main", "ref_invalid"),
        ("feature\n", "invalid_input"),
        ("", "invalid_input"),
    ],
)
def test_an_invalid_branch_name_is_refused(client, ref, code):
    answer = post(client, "/api/runs", {"title": "x", "branch": ref})
    assert (answer.status_code, answer.json()["error"]) == (400, code)
    assert api.Run.objects.count() == 0


def test_the_target_branch_is_refused(client):
    answer = post(client, "/api/runs", {"title": "x", "branch": settings.OROBOROS.target_branch})
    assert (answer.status_code, answer.json()["error"]) == (409, "branch_is_target")


@pytest.mark.parametrize("commit", ["deadbee", "DEADBEEF" * 5, "HEAD~1", "0" * 39 + "g"])
def test_an_abbreviated_commit_id_is_refused(client, commit):
    answer = post(client, "/api/runs", {"title": "x", "commit": commit})
    assert (answer.status_code, answer.json()["error"]) == (400, "sha_invalid")


@pytest.mark.parametrize("operation", ["", "/events", "/artifacts", "/artifacts/x", "/diff"])
@pytest.mark.parametrize(
    "run_id",
    [
        "{7f1e0c8e-2c0e-4b0a-9d55-0a3c1d2e3f40}",
        "7F1E0C8E2C0E4B0A9D550A3C1D2E3F40",
        "7f1e0c8e-2c0e-4b0a-9d55-0a3c1d2e3f40' OR '1'='1",
        "7f1e0c8e2c0e4b0a9d550a3c1d2e3f40",
        "1",
    ],
)
def test_another_spelling_of_a_run_id_returns_400(client, run_id, operation):
    answer = client.get(f"/api/runs/{run_id}{operation}")
    assert (answer.status_code, answer.json()["error"]) == (400, "run_id_invalid")


@pytest.mark.parametrize("operation", ["approve", "reject", "cancel", "retry", "keep"])
def test_an_unknown_run_returns_404(client, operation):
    answer = post(client, f"/api/runs/{uuid.uuid4()}/{operation}")
    assert (answer.status_code, answer.json()["error"]) == (404, "run_unknown")


@pytest.mark.parametrize(
    ("operation", "body", "kwargs"),
    [
        ("approve", {"commit_sha": "a" * 40, "reason": "fine"}, None),
        ("approve", {"commit_sha": "a" * 40, "accept_checks": True}, None),
        ("reject", {"reason": "no"}, None),
        ("cancel", {}, {}),
        ("cancel", {"reason": "late"}, None),
        ("retry", {}, {}),
        ("keep", {}, {"seconds": 72 * 3600}),
        ("keep", {"seconds": 60}, None),
    ],
)
def test_each_operation_is_called_with_the_run_and_the_actor(
    client, calls, operation, body, kwargs
):
    run = RunFactory(status=Status.PREVIEW_READY)
    answer = post(client, f"/api/runs/{run.pk}/{operation}", body)
    assert answer.status_code in (200, 201), answer.content
    expected = {
        **(body if kwargs is None else kwargs),
        "actor": ME,
    }
    assert calls == [(operation, run, expected)]


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("reject", {}),
        ("reject", {"reason": "  "}),
        ("keep", {"seconds": 72 * 3600 + 1}),
        ("keep", {"seconds": "60"}),
        ("retry", {"reason": "x"}),
        ("approve", {"commit_sha": "a" * 40, "accept_checks": "yes"}),
    ],
)
def test_a_malformed_body_returns_400_and_calls_no_operation(client, calls, operation, body):
    run = RunFactory()
    assert post(client, f"/api/runs/{run.pk}/{operation}", body).status_code == 400
    assert calls == []


def test_a_refusal_of_a_rule_returns_its_code_and_detail(client, monkeypatch):
    def refuse(run, **kwargs):
        raise Refused("not_ready", "The run is queued.")

    monkeypatch.setattr(operations, "approve", refuse)
    answer = post(client, f"/api/runs/{RunFactory().pk}/approve", {"commit_sha": "a" * 40})
    assert answer.status_code == 409
    assert answer.json() == {"error": "not_ready", "detail": "The run is queued."}


def test_approving_another_commit_than_the_runs_returns_409(client):
    run = RunFactory(status=Status.PREVIEW_READY)
    answer = post(client, f"/api/runs/{run.pk}/approve", {"commit_sha": "b" * 40})
    assert (answer.status_code, answer.json()["error"]) == (409, "commit_moved")
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY


def test_an_approval_names_its_commit_unless_the_hosts_shell_makes_it(client, monkeypatch):
    run = LeaseFactory(held=True, run__status=Status.PREVIEW_READY).run
    path = f"/api/runs/{run.pk}/approve"
    for body in ({}, {"reason": "fine"}):
        answer = post(client, path, body)
        assert (answer.status_code, answer.json()["error"]) == (400, "commit_required")
    assert not run.approvals.exists()
    monkeypatch.setattr(
        HostAuthentication,
        "authenticate",
        lambda *_: (Principal(HOST_NAME, frozenset(ABILITIES)), None),
    )
    answer = Client().post(path, {}, content_type="application/json")
    assert answer.json()["approvals"][0]["commit_sha"] == run.commit_sha


def test_changed_checks_are_accepted_by_operators_for_a_named_commit(client):
    run = LeaseFactory(held=True, run__status=Status.PREVIEW_READY).run
    path, accepting = f"/api/runs/{run.pk}/approve", {"accept_checks": True}
    unseen = post(client, path, accepting)
    assert (unseen.status_code, unseen.json()["error"]) == (400, "commit_required")
    accepting["commit_sha"] = run.commit_sha
    approver = post(make_client("view", "hold", "approve"), path, accepting)
    assert (approver.status_code, approver.json()["error"]) == (403, "forbidden")
    assert not run.approvals.exists()
    [approval] = post(client, path, accepting).json()["approvals"]
    assert (approval["actor"], approval["accepts_checks"]) == (ME, True)
    calls = run.events.get(kind="approved")
    assert (calls.actor, "with its own checks only" in calls.text) == (ME, True)


def test_a_run_on_a_slot_has_its_links_and_its_time_left(client):
    lease = LeaseFactory(held=True, slot__number=2, run__status=Status.PREVIEW_READY)
    config = settings.OROBOROS
    body = client.get(f"/api/runs/{lease.run.pk}").json()
    assert body["slot_id"] == "preview-2"
    host = f"{lease.run.label}.preview2.localhost"
    assert body["label"] == lease.run.label
    assert body["frontend_url"] == f"http://{host}:{config.slot('preview-2').web_port}"
    assert body["backend_url"] == f"http://{host}:{config.slot('preview-2').backend_port}"
    assert 14390 < body["seconds_left"] <= 14400
    assert body["position"] is None
    assert "approve or reject" in body["next_action"]


def test_a_pinned_lease_has_no_expiry(client):
    lease = LeaseFactory(held=True, is_pinned=True, run__status=Status.MERGING)
    body = client.get(f"/api/runs/{lease.run.pk}").json()
    assert (body["slot_id"], body["expires_at"], body["seconds_left"]) == (
        lease.slot.slot_id,
        None,
        None,
    )


def test_waiting_runs_have_their_queue_position(client):
    first, second = LeaseFactory(), LeaseFactory()
    urgent = LeaseFactory(priority=1, requested_at=timezone.now() + timedelta(seconds=5))
    places = {row["id"]: row["position"] for row in client.get("/api/runs").json()["results"]}
    assert places == {str(urgent.run.pk): 1, str(first.run.pk): 2, str(second.run.pk): 3}


def test_a_waiting_run_has_an_estimate_and_the_slots_in_use(client, slots):
    at = timezone.now() - timedelta(minutes=5)
    LeaseFactory(
        held=True, state=LeaseState.ENDED, requested_at=at, ended_at=at + timedelta(minutes=9)
    )
    holder = LeaseFactory(
        held=True,
        slot__number=1,
        requested_at=at,
        run__title="Reactions",
        run__status="preview_ready",
    )
    Slot.objects.filter(number=2).update(quarantined_at=at, quarantine_reason="the disk")
    Slot.objects.filter(number=3).update(drained_at=at, drain_reason="a new kernel")
    body = client.get(f"/api/runs/{LeaseFactory().run.pk}").json()
    assert body["waiting_reason"] == "Waiting for a slot, position 1 in the queue."
    assert body["waiting_reason"] == body["next_action"]
    assert 200 < body["estimate_seconds"] <= 240
    assert body["estimate_latest"] == body["blocked_by"][0]["expires_at"]
    blocked = [(one["slot_id"], one["state"], one["run_title"]) for one in body["blocked_by"]]
    assert blocked == [
        ("preview-1", "leased", "Reactions"),
        ("preview-2", "quarantined", None),
        ("preview-3", "drained", None),
    ]
    assert [one["reason"] for one in body["blocked_by"]] == ["", "the disk", "a new kernel"]
    assert body["blocked_by"][0]["held_since"] is not None
    body = client.get(f"/api/runs/{holder.run.pk}").json()
    said = [body[name] for name in ("waiting_reason", "estimate_seconds", "blocked_by")]
    assert said == ["", None, []]


def test_a_waiting_run_reports_that_the_host_lacks_capacity(client, monkeypatch):
    monkeypatch.setattr(
        "runs.leasing.grants.read_free_capacity", lambda: Capacity(memory_mb=10, disk_mb=10**6)
    )
    body = client.get(f"/api/runs/{LeaseFactory().run.pk}").json()
    assert "No slot is granted: 10 MiB of memory are free" in body["next_action"]
    assert body["waiting_reason"] == body["next_action"]


def test_an_approved_run_reports_its_merge_queue_position(client):
    at = timezone.now()
    first = RunFactory(status=Status.APPROVED, approved_at=at, title="Reactions")
    second = RunFactory(status=Status.APPROVED, approved_at=at + timedelta(seconds=1))
    bodies = [client.get(f"/api/runs/{run.pk}").json() for run in (first, second)]
    assert [body["next_action"] for body in bodies] == [
        "Approved; next to ship.",
        "Approved; number 2 in the merge queue, after Reactions.",
    ]
    assert [body["held_by"] for body in bodies] == [[], []]


def test_an_approved_run_reports_the_freeze_that_holds_it(client):
    at = timezone.now()
    run = RunFactory(status=Status.APPROVED, approved_at=at)
    failed = RunFactory(status=Status.FAILED)
    left = FreezeFactory(run=failed, actor="worker", reason="not healthy")
    FreezeFactory(actor="ada", reason="a demo", until=at + timedelta(hours=1))
    FreezeFactory(actor="ada", reason="over", until=at - timedelta(hours=1))
    body = client.get(f"/api/runs/{run.pk}").json()
    assert body["next_action"] == (
        "Approved; next to ship after the freeze.\n"
        f"Shipping is frozen by ada since {at:%Y-%m-%d %H:%M} UTC until "
        f"{at + timedelta(hours=1):%Y-%m-%d %H:%M} UTC: a demo\n"
        f"Shipping is frozen by worker since {at:%Y-%m-%d %H:%M} UTC: not healthy"
    )
    assert [(one["actor"], one["run_id"]) for one in body["held_by"]] == [
        ("ada", None),
        ("worker", str(left.run_id)),
    ]
    listed = client.get("/api/runs?status=approved").json()["results"]
    assert listed[0]["next_action"] == body["next_action"]


def test_a_run_that_repairs_the_failed_deployment_is_ahead_of_frozen_runs(client):
    failed = RunFactory(status=Status.FAILED)
    FreezeFactory(run=failed)
    waiting, repair = (
        RunFactory(status=Status.APPROVED, approved_at=timezone.now(), parent=parent)
        for parent in (None, failed)
    )
    body = client.get(f"/api/runs/{repair.pk}").json()
    assert (body["next_action"], body["held_by"]) == ("Approved; next to ship.", [])
    assert client.get(f"/api/runs/{waiting.pk}").json()["held_by"] != []


def test_a_run_with_a_higher_priority_is_ahead_of_waiting_runs(client, slots):
    for _ in slots:
        LeaseFactory(held=True)
    urgent, low = {"title": "x", "prepare": False, "priority": 5}, -(2**15) + 1
    for priority in (0, low, 5):
        made = post(client, "/api/runs", {**urgent, "priority": priority}).json()
        assert post(client, "/api/slots/acquire", {"run_id": made["id"]}).status_code == 200
    page = client.get("/api/runs").json()["results"]
    places = {one["priority"]: one["position"] for one in page if one["position"]}
    assert places == {5: 1, 0: 2, low: 3}
    assert client.get(f"/api/runs/{made['id']}").json()["position"] == 1
    refused = post(make_client("view", "hold"), "/api/runs", urgent)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")


def test_the_list_is_paginated_newest_first(client):
    rows = [RunFactory(created_at=timezone.now() + timedelta(seconds=n)) for n in range(5)]
    page = client.get("/api/runs?limit=2").json()
    assert set(page) == {"results", "next", "previous"}
    assert [row["id"] for row in page["results"]] == [str(rows[4].pk), str(rows[3].pk)]
    page = client.get(page["next"]).json()
    assert [row["id"] for row in page["results"]] == [str(rows[2].pk), str(rows[1].pk)]


def test_the_list_is_filtered_by_status_and_branch(client):
    RunFactory()
    wanted = RunFactory(status=Status.PREVIEW_READY, branch="feature/b")
    page = client.get("/api/runs?status=preview_ready&branch=feature/b").json()
    assert [row["id"] for row in page["results"]] == [str(wanted.pk)]
    assert client.get("/api/runs?status=nope").json()["error"] == "status_unknown"


def test_the_list_needs_the_same_queries_for_any_number_of_runs(
    client, django_assert_max_num_queries
):
    slots = [SlotFactory(number=number) for number in (1, 2, 3)]
    for slot in slots:
        LeaseFactory(held=True, slot=slot, run__status=Status.PREVIEW_READY)
    for _ in range(30):
        LeaseFactory()
    client.get("/api/slots")  # the token's first use is recorded
    with django_assert_max_num_queries(5):
        assert len(client.get("/api/runs").json()["results"]) == 33


def test_the_detail_needs_the_same_queries_for_any_number_of_steps(
    client, django_assert_max_num_queries
):
    lease = LeaseFactory(run__release=ReleaseFactory(live=True))
    for _ in range(20):
        StepFactory(run=lease.run)
    ApprovalFactory(run=lease.run)
    client.get("/api/slots")  # the token's first use is recorded
    with django_assert_max_num_queries(12):
        body = client.get(f"/api/runs/{lease.run.pk}").json()
    assert (len(body["steps"]), len(body["approvals"]), body["position"]) == (20, 1, 1)
    assert body["release_id"] == lease.run.release_id


def test_events_are_listed_newest_first(client):
    run = RunFactory()
    for text in ("one", "two"):
        EventFactory(run=run, text=text)
    EventFactory(text="of another run")
    page = client.get(f"/api/runs/{run.pk}/events").json()
    assert [row["text"] for row in page["results"]] == ["two", "one"]


# --- who


@pytest.mark.parametrize(
    ("method", "path", "needs"),
    [
        ("get", "/api/runs", "view"),
        ("get", "/api/runs/{id}", "view"),
        ("get", "/api/runs/{id}/events", "view"),
        ("get", "/api/runs/{id}/artifacts", "view"),
        ("get", "/api/runs/{id}/artifacts/x", "view"),
        ("get", "/api/runs/{id}/diff", "view"),
        ("post", "/api/runs", "hold"),
        ("post", "/api/runs/{id}/approve", "approve"),
        ("post", "/api/runs/{id}/precheck", "approve"),
        ("post", "/api/runs/{id}/reject", "approve"),
        ("post", "/api/runs/{id}/cancel", "hold"),
        ("post", "/api/runs/{id}/retry", "hold"),
        ("post", "/api/runs/{id}/keep", "hold"),
    ],
)
def test_each_address_needs_authentication_and_its_ability(calls, method, path, needs):
    # Of the token that has the ability: a run is canceled and kept by its creator.
    path = path.format(id=RunFactory(created_by=f"token test-{needs}").pk)
    others = [ability for ability in ALL if ability != needs]
    anonymous = getattr(Client(), method)(path)
    wrong = getattr(make_client(*others), method)(path)
    assert (anonymous.status_code, anonymous.json()["error"]) == (401, "not_authenticated")
    assert (wrong.status_code, wrong.json()["error"]) == (403, "forbidden")
    assert calls == []
    assert getattr(make_client(needs), method)(path).status_code not in (401, 403)


def test_a_run_whose_lease_ended_has_no_slot(client):
    lease = LeaseFactory(held=True, state=LeaseState.ENDED)
    body = client.get(f"/api/runs/{lease.run.pk}").json()
    assert (body["slot_id"], body["lease_state"], body["frontend_url"]) == (None, None, None)
