"""Slots over HTTP: answers, refusals, and what a retry finds."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from runs.leasing import grants, leases
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState
from tests.factories import RunFactory
from tests.runs.conftest import Caller, together

ACQUIRE = "/api/slots/acquire"
REAP = "/api/slots/reap-expired"
RELEASE = "/api/slots/preview-1/release"
HEARTBEAT = "/api/slots/preview-1/heartbeat"


def reservation(owner, **fields):
    return RunFactory(prepare=False, created_by=owner.name, **fields)


def acquired(caller, run, **body):
    answer = caller.post(ACQUIRE, run_id=str(run.pk), **body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.content


def run_out(run):
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))


def status_of(run):
    return Run.objects.values_list("status", flat=True).get(pk=run.pk)


def claim(run):
    return Run.objects.claim(run.pk, "a worker")


# --- acquire


def test_a_free_pool_answers_an_acquire_with_a_slot(slots, ci):
    run = reservation(ci)
    body = acquired(ci, run, ttl_seconds=60)
    assert body.pop("expires_at") > timezone.now().isoformat()
    assert body == {
        "acquired": True,
        "slot_id": "preview-1",
        "queue_reason": None,
        "position": None,
        "ttl_seconds": 60,
        "fence": 1,
    }
    assert status_of(run) == Status.HOLDING


def test_a_full_pool_answers_with_the_place_in_the_line(slot, ci):
    acquired(ci, reservation(ci))
    acquired(ci, reservation(ci))
    assert acquired(ci, reservation(ci)) == {
        "acquired": False,
        "slot_id": None,
        "queue_reason": "WAITING_FOR_SLOT",
        "position": 2,
        "expires_at": None,
        "ttl_seconds": 14400,
        "fence": None,
    }


def test_who_lost_the_answer_and_asks_again_has_the_same_lease(slots, ci):
    run = reservation(ci)
    assert acquired(ci, run) == acquired(ci, run, ttl_seconds=60)
    assert Lease.objects.count() == 1
    assert list(Event.objects.filter(run=run).order_by("id").values_list("kind", flat=True)) == [
        "asked",
        "granted",
    ]


def test_a_waiter_that_asks_again_keeps_its_place_and_is_heard(slot, ci):
    acquired(ci, reservation(ci))
    first, second = reservation(ci), reservation(ci)
    acquired(ci, first)
    Lease.objects.filter(run=first).update(waits_until=timezone.now() + timedelta(seconds=1))
    acquired(ci, second)
    assert acquired(ci, first)["position"] == 1
    left = Lease.objects.get(run=first).waits_until - timezone.now()
    assert timedelta(seconds=55) < left <= timedelta(seconds=60)


def test_a_full_line_answers_429(slot, ci, settings):
    settings.QUEUE_LIMIT = 1
    acquired(ci, reservation(ci))
    acquired(ci, reservation(ci))
    last = reservation(ci)
    refused(ci.post(ACQUIRE, run_id=str(last.pk)), 429, "queue_full")
    assert not Lease.objects.filter(run=last).exists()


def test_an_ended_run_cannot_acquire(slots, ci):
    run = reservation(ci, status=Status.EXPIRED)
    refused(ci.post(ACQUIRE, run_id=str(run.pk)), 409, "run_ended")


def test_who_asks_after_the_time_ran_out_is_fenced(slots, ci):
    run = reservation(ci)
    acquired(ci, run)
    run_out(run)
    refused(ci.post(ACQUIRE, run_id=str(run.pk)), 409, "lease_fenced")


def test_an_acquire_is_one_trip_to_the_pool(slots, ci, django_assert_num_queries, monkeypatch):
    trips, fetch = [], grants.fetch

    def counted(*statements, **values):
        trips.append(len(statements))
        return fetch(*statements, **values)

    monkeypatch.setattr(grants, "fetch", counted)
    run = reservation(ci)
    ci.get("/api/slots")  # the token's first use in a minute is noted
    with django_assert_num_queries(1):  # the token
        acquired(ci, run)
    with django_assert_num_queries(1):
        ci.post(RELEASE, run_id=str(run.pk))
    assert trips == [4, 3]


# --- heartbeat


def test_a_heartbeat_renews_a_reservation(slots, ci):
    run = reservation(ci)
    body = acquired(ci, run, ttl_seconds=60)
    Lease.objects.filter(run=run).update(expires_at=timezone.now() + timedelta(seconds=5))
    answer = ci.post(HEARTBEAT, run_id=str(run.pk), fence=body["fence"]).json()
    until = Lease.objects.get(run=run).expires_at
    assert until > timezone.now() + timedelta(seconds=55)
    assert answer == {
        "heartbeat_updated": True,
        "slot_id": "preview-1",
        "run_id": str(run.pk),
        "reason": None,
        "expires_at": until.isoformat().replace("+00:00", "Z"),
    }


def test_a_heartbeat_does_not_prolong_a_preview(slots, ci):
    run = RunFactory(created_by=ci.name)
    lease = leases.ask(run, actor="ci")
    answer = ci.post(HEARTBEAT, run_id=str(run.pk))
    assert answer.status_code == 200
    lease.refresh_from_db()
    assert (lease.expires_at - lease.granted_at).total_seconds() == lease.ttl_seconds
    assert lease.heartbeat_at > lease.granted_at


def test_who_slept_past_the_end_is_fenced_and_the_next_holder_untouched(slot, ci, operator):
    sleeper, after = reservation(ci), reservation(ci)
    fence = acquired(ci, sleeper)["fence"]
    acquired(ci, after)
    run_out(sleeper)
    operator.post(REAP)
    before = Lease.objects.filter(run=after).values().get()
    for path in (HEARTBEAT, RELEASE):
        refused(ci.post(path, run_id=str(sleeper.pk), fence=fence), 409, "lease_fenced")
        refused(ci.post(path, run_id=str(sleeper.pk)), 409, "lease_fenced")
    assert Lease.objects.filter(run=after).values().get() == before
    assert before["state"] == LeaseState.HELD


def test_a_heartbeat_after_the_end_and_before_the_reaper_is_fenced_too(slots, ci):
    run = reservation(ci)
    acquired(ci, run)
    run_out(run)
    refused(ci.post(HEARTBEAT, run_id=str(run.pk)), 409, "lease_fenced")


@pytest.mark.parametrize("path", [HEARTBEAT, RELEASE])
def test_a_stale_fence_writes_nothing(slots, ci, path):
    run = reservation(ci)
    acquired(ci, run)
    ci.post(RELEASE, run_id=str(run.pk))
    fence = acquired(ci, run)["fence"]
    before = Lease.objects.filter(run=run).order_by("id").values().last()
    refused(ci.post(path, run_id=str(run.pk), fence=fence - 1), 409, "lease_fenced")
    assert Lease.objects.filter(run=run).order_by("id").values().last() == before


@pytest.mark.parametrize("path", [HEARTBEAT, RELEASE])
def test_another_run_than_the_holder_is_told_so(slots, ci, path):
    acquired(ci, reservation(ci))
    other = reservation(ci)
    refused(ci.post(path, run_id=str(other.pk)), 409, "not_holder")


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE])
def test_nobody_touches_somebody_elses_lease(slots, ci, path):
    run = reservation(ci)
    acquired(ci, run)
    before = Lease.objects.values().get()
    stranger = Caller("stranger", "view", "hold")
    refused(stranger.post(path, run_id=str(run.pk)), 403, "lease_not_yours")
    assert Lease.objects.values().get() == before


# --- release


def test_a_released_reservation_is_queued_again_and_the_next_in_line_has_the_slot(slot, ci):
    run, *waiting = [reservation(ci) for _ in range(3)]
    for each in (run, *waiting):
        acquired(ci, each)
    answer = ci.post(RELEASE, run_id=str(run.pk))
    assert answer.json() == {
        "released": True,
        "slot_id": "preview-1",
        "run_id": str(run.pk),
        "reason": None,
    }
    assert status_of(run) == Status.QUEUED
    assert acquired(ci, waiting[0])["acquired"]
    assert acquired(ci, waiting[1])["position"] == 1
    assert not Lease.objects.filter(run=run).exclude(state=LeaseState.ENDED).exists()


def test_releasing_again_says_so_even_when_another_has_the_slot(slot, ci):
    run, after = reservation(ci), reservation(ci)
    fence = acquired(ci, run)["fence"]
    ci.post(RELEASE, run_id=str(run.pk), fence=fence)
    acquired(ci, after)
    for body in ({}, {"fence": fence}):
        answer = ci.post(RELEASE, run_id=str(run.pk), **body)
        assert answer.status_code == 200
        assert answer.json()["released"] is False
        assert answer.json()["reason"] == "ALREADY_RELEASED"
    assert acquired(ci, after)["acquired"]


@pytest.mark.parametrize("status", [Status.PREPARING, Status.PREVIEW_READY])
def test_releasing_a_preview_cancels_its_run_and_cleans(slots, ci, cleaner, status):
    run = RunFactory(created_by=ci.name)
    leases.ask(run, actor="ci")
    Run.objects.filter(pk=run.pk).update(status=status)
    assert ci.post(RELEASE, run_id=str(run.pk)).json()["released"]
    run.refresh_from_db()
    assert (run.status, run.failure_code) == (Status.CANCELED, "RELEASED")
    assert run.next_action
    assert cleaner.seen == ["preview-1"]
    assert Lease.objects.get(run=run).state == LeaseState.ENDED


def test_a_run_somebody_works_on_is_asked_to_stop_and_fenced_at_once(slots, ci, cleaner):
    run = RunFactory(created_by=ci.name)
    leases.ask(run, actor="ci")
    claim(run)
    OrmQ.objects.all().delete()
    assert ci.post(RELEASE, run_id=str(run.pk)).json()["released"]
    run.refresh_from_db()
    assert run.status == Status.PREPARING
    assert (run.stop_status, run.stop_code, run.stop_actor) == ("canceled", "RELEASED", ci.name)
    assert Lease.objects.get(run=run).state == LeaseState.ENDING
    assert OrmQ.objects.count() == 1
    assert cleaner.seen == []  # its commands may still run there
    assert ci.post(RELEASE, run_id=str(run.pk)).json()["reason"] == "ALREADY_RELEASED"


SHIPPING = [Status.APPROVED, Status.MERGING, Status.DEPLOYING]


def shipping(status):
    run = RunFactory(created_by="alice")
    leases.ask(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=status)
    return run


@pytest.mark.parametrize("status", SHIPPING)
def test_a_run_that_ships_keeps_its_slot(slots, operator, status):
    run = shipping(status)
    refused(operator.post(RELEASE, run_id=str(run.pk)), 409, "run_is_shipping")
    refused(operator.post(RELEASE, run_id=str(run.pk), force=True), 400, "reason_required")
    assert Lease.objects.get(run=run).state == LeaseState.HELD


@pytest.mark.parametrize(
    ("status", "ends", "stop"),
    [
        (Status.APPROVED, Status.CANCELED, ""),
        (Status.MERGING, Status.MERGING, "canceled"),
        (Status.DEPLOYING, Status.DEPLOYING, ""),
    ],
)
def test_force_with_a_reason_takes_the_slot_of_a_run_that_ships(
    slots, operator, cleaner, status, ends, stop
):
    run = shipping(status)
    answer = operator.post(RELEASE, run_id=str(run.pk), force=True, reason="a fire")
    assert answer.json()["released"]
    run.refresh_from_db()
    assert (run.status, run.stop_status) == (ends, stop)
    assert Lease.objects.get(run=run).state in (LeaseState.ENDING, LeaseState.ENDED)
    event = Event.objects.filter(run=run, kind="released").get()
    assert (event.actor, event.text) == (operator.name, "released by force: a fire")


def test_only_an_operator_forces(slots, ci):
    run = reservation(ci)
    acquired(ci, run)
    answer = ci.post(RELEASE, run_id=str(run.pk), force=True, reason="mine")
    refused(answer, 403, "forbidden")


# --- reap


def test_the_reaper_answers_with_what_it_fenced(slots, ci, operator):
    run = reservation(ci)
    acquired(ci, run)
    assert operator.post(REAP).json() == {"expired_count": 0, "expired_slots": []}
    run_out(run)
    assert operator.post(REAP).json() == {"expired_count": 1, "expired_slots": ["preview-1"]}
    assert operator.post(REAP).json() == {"expired_count": 0, "expired_slots": []}


def test_a_plain_post_without_a_body_reaps(slots, operator):
    assert operator.raw(REAP, b"", content_type="").status_code == 200


# --- the list


def test_the_list_of_slots_tells_who_has_what(slots, ci):
    run = reservation(ci, title="look here")
    acquired(ci, run)
    first, second, third = ci.get("/api/slots").json()
    assert first["slot_id"] == "preview-1"
    assert (first["state"], first["lease_state"]) == ("leased", "held")
    assert (first["run_id"], first["run_title"]) == (str(run.pk), "look here")
    assert first["held_by"] == ci.name
    assert first["expires_at"] and first["heartbeat_at"] and first["held_since"]
    for free in (second, third):
        assert (free["state"], free["lease_state"], free["run_id"]) == ("free", None, None)


def test_the_list_of_slots_costs_the_same_however_many_wait(slots, ci, django_assert_num_queries):
    ci.get("/api/slots")  # the token's first use in a minute is noted
    for _ in range(3):
        with django_assert_num_queries(3):  # token, slots, leases
            ci.get("/api/slots")
        for _ in range(5):
            acquired(ci, reservation(ci))


# --- many at once


@pytest.mark.django_db(transaction=True)
def test_fifty_acquirers_of_one_slot_are_granted_in_order_without_an_error(settings):
    settings.QUEUE_LIMIT = 1000
    Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)
    caller = Caller("many", "view", "hold")
    runs = [reservation(caller) for _ in range(50)]
    answers = together(lambda run: acquired(caller, run), runs)
    assert sum(answer["acquired"] for answer in answers) == 1
    assert sorted(a["position"] for a in answers if not a["acquired"]) == [*range(1, 50)]
    order = Lease.objects.order_by("asked_at", "id").values_list("run_id", flat=True)
    granted = []
    for run_id in order:  # each lets go at once; the next must be the one who came next
        granted.append(Lease.objects.get(state=LeaseState.HELD).run_id)
        caller.post(RELEASE, run_id=str(run_id))
    assert granted == list(order)
    connection.close()
