"""The slot endpoints: answers, refusals, and repeated requests."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from host.errors import Refused
from runs.leasing import grants, leases, reservations
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


def create_reservation(owner, **fields):
    return RunFactory(prepare=False, created_by=owner.name, **fields)


def acquire(caller, run, **body):
    answer = caller.post(ACQUIRE, run_id=str(run.pk), **body)
    assert answer.status_code == 200, answer.content
    return answer.json()


def assert_refused(answer, status, code):
    assert (answer.status_code, answer.json()["error"]) == (status, code), answer.content


def expire_lease(run):
    Lease.objects.filter(run=run).update(expires_at=timezone.now() - timedelta(seconds=1))


def get_status(run):
    return Run.objects.values_list("status", flat=True).get(pk=run.pk)


def claim_run(run):
    return Run.objects.claim(run.pk, "a worker")


# --- acquire


def test_acquire_returns_a_slot_if_one_is_free(slots, ci):
    run = create_reservation(ci)
    body = acquire(ci, run, ttl_seconds=60)
    assert body.pop("expires_at") > timezone.now().isoformat()
    assert body == {
        "acquired": True,
        "slot_id": "preview-1",
        "queue_reason": None,
        "position": None,
        "ttl_seconds": 60,
        "fence": 1,
    }
    assert get_status(run) == Status.HOLDING


def test_acquire_returns_the_queue_position_if_no_slot_is_free(slot, ci):
    acquire(ci, create_reservation(ci))
    acquire(ci, create_reservation(ci))
    assert acquire(ci, create_reservation(ci)) == {
        "acquired": False,
        "slot_id": None,
        "queue_reason": "WAITING_FOR_SLOT",
        "position": 2,
        "expires_at": None,
        "ttl_seconds": 14400,
        "fence": None,
    }


def test_a_repeated_acquire_returns_the_same_lease(slots, ci):
    run = create_reservation(ci)
    assert acquire(ci, run) == acquire(ci, run, ttl_seconds=60)
    assert Lease.objects.count() == 1
    assert list(Event.objects.filter(run=run).order_by("id").values_list("kind", flat=True)) == [
        "requested",
        "granted",
    ]


def test_a_repeated_acquire_keeps_the_queue_position(slot, ci):
    acquire(ci, create_reservation(ci))
    first, second = create_reservation(ci), create_reservation(ci)
    acquire(ci, first)
    Lease.objects.filter(run=first).update(waits_until=timezone.now() + timedelta(seconds=30))
    acquire(ci, second)
    assert acquire(ci, first)["position"] == 1
    left = Lease.objects.get(run=first).waits_until - timezone.now()
    assert timedelta(seconds=35) < left <= timedelta(seconds=60)


def test_a_full_queue_returns_429(slot, ci, settings):
    settings.QUEUE_LIMIT = 1
    acquire(ci, create_reservation(ci))
    acquire(ci, create_reservation(ci))
    last = create_reservation(ci)
    assert_refused(ci.post(ACQUIRE, run_id=str(last.pk)), 429, "queue_full")
    assert not Lease.objects.filter(run=last).exists()


def test_an_ended_run_cannot_acquire(slots, ci):
    run = create_reservation(ci, status=Status.EXPIRED)
    assert_refused(ci.post(ACQUIRE, run_id=str(run.pk)), 409, "run_ended")


def test_an_acquire_after_the_lease_expired_is_fenced(slots, ci):
    run = create_reservation(ci)
    acquire(ci, run)
    expire_lease(run)
    assert_refused(ci.post(ACQUIRE, run_id=str(run.pk)), 409, "lease_fenced")


def test_an_acquire_is_one_round_trip(slots, ci, django_assert_num_queries, monkeypatch):
    trips, fetch = [], grants.fetch

    def count_statements(*statements, **values):
        trips.append(len(statements))
        return fetch(*statements, **values)

    monkeypatch.setattr(grants, "fetch", count_statements)
    run = create_reservation(ci)
    ci.get("/api/slots")  # the token's first use in a minute is recorded
    with django_assert_num_queries(1):  # the token
        acquire(ci, run)
    with django_assert_num_queries(4):  # and the audit trail's entry, in a savepoint
        ci.post(RELEASE, run_id=str(run.pk))
    assert trips == [4, 3]


# --- heartbeat


def test_a_heartbeat_renews_a_reservation(slots, ci):
    run = create_reservation(ci)
    body = acquire(ci, run, ttl_seconds=60)
    Lease.objects.filter(run=run).update(expires_at=timezone.now() + timedelta(seconds=30))
    answer = ci.post(HEARTBEAT, run_id=str(run.pk), fence=body["fence"]).json()
    until = Lease.objects.get(run=run).expires_at
    assert until > timezone.now() + timedelta(seconds=35)
    assert answer == {
        "heartbeat_updated": True,
        "slot_id": "preview-1",
        "run_id": str(run.pk),
        "reason": None,
        "expires_at": until.isoformat().replace("+00:00", "Z"),
    }


def test_a_heartbeat_does_not_shorten_a_longer_lease(slots, ci):
    run = create_reservation(ci)
    acquire(ci, run, ttl_seconds=60)
    later = timezone.now() + timedelta(hours=1)
    Lease.objects.filter(run=run).update(expires_at=later)
    assert ci.post(HEARTBEAT, run_id=str(run.pk)).status_code == 200
    assert Lease.objects.get(run=run).expires_at == later


def test_a_heartbeat_does_not_prolong_a_preview(slots, ci):
    run = RunFactory(created_by=ci.name)
    lease = leases.request_slot(run, actor="ci")
    answer = ci.post(HEARTBEAT, run_id=str(run.pk))
    assert answer.status_code == 200
    lease.refresh_from_db()
    assert (lease.expires_at - lease.granted_at).total_seconds() == lease.ttl_seconds
    assert lease.heartbeat_at > lease.granted_at


def test_a_heartbeat_of_a_run_that_ships_is_taken_after_the_ttl(slots, ci):
    run = RunFactory(created_by=ci.name)
    leases.request_slot(run, actor="ci")
    leases.pin_lease(run)
    expire_lease(run)
    before = Lease.objects.get(run=run)
    assert ci.post(HEARTBEAT, run_id=str(run.pk), fence=before.fence).status_code == 200
    after = Lease.objects.get(run=run)
    assert after.heartbeat_at > before.heartbeat_at
    assert after.expires_at == before.expires_at


def test_a_holder_that_slept_past_its_expiry_is_fenced(slot, ci, operator):
    sleeper, after = create_reservation(ci), create_reservation(ci)
    fence = acquire(ci, sleeper)["fence"]
    acquire(ci, after)
    expire_lease(sleeper)
    operator.post(REAP)
    before = Lease.objects.filter(run=after).values().get()
    for path in (HEARTBEAT, RELEASE):
        assert_refused(ci.post(path, run_id=str(sleeper.pk), fence=fence), 409, "lease_fenced")
        assert_refused(ci.post(path, run_id=str(sleeper.pk)), 409, "lease_fenced")
    assert Lease.objects.filter(run=after).values().get() == before
    assert before["state"] == LeaseState.HELD


def test_a_heartbeat_after_the_expiry_and_before_the_reaper_returns_409(slots, ci):
    run = create_reservation(ci)
    acquire(ci, run)
    expire_lease(run)
    assert_refused(ci.post(HEARTBEAT, run_id=str(run.pk)), 409, "lease_fenced")


@pytest.mark.parametrize("path", [HEARTBEAT, RELEASE])
def test_a_stale_fence_returns_409_and_changes_nothing(slots, ci, path):
    run = create_reservation(ci)
    acquire(ci, run)
    ci.post(RELEASE, run_id=str(run.pk))
    fence = acquire(ci, run)["fence"]
    before = Lease.objects.filter(run=run).order_by("id").values().last()
    assert_refused(ci.post(path, run_id=str(run.pk), fence=fence - 1), 409, "lease_fenced")
    assert Lease.objects.filter(run=run).order_by("id").values().last() == before


@pytest.mark.parametrize("path", [HEARTBEAT, RELEASE])
def test_a_run_that_never_held_the_slot_returns_409(slots, ci, path):
    acquire(ci, create_reservation(ci))
    other = create_reservation(ci)
    assert_refused(ci.post(path, run_id=str(other.pk)), 409, "not_holder")


@pytest.mark.parametrize("path", [ACQUIRE, HEARTBEAT, RELEASE])
def test_a_lease_of_another_creator_returns_403(slots, ci, path):
    run = create_reservation(ci)
    acquire(ci, run)
    before = Lease.objects.values().get()
    stranger = Caller("stranger", "view", "hold")
    assert_refused(stranger.post(path, run_id=str(run.pk)), 403, "lease_not_yours")
    assert Lease.objects.values().get() == before


def test_a_stranger_puts_no_run_of_another_creator_into_the_queue(slots, ci):
    run = create_reservation(ci)
    stranger = Caller("stranger", "view", "hold")
    assert_refused(stranger.post(ACQUIRE, run_id=str(run.pk)), 403, "lease_not_yours")
    assert not Lease.objects.exists()


def test_a_heartbeat_with_a_stale_fence_is_told_the_present_one(slots, ci):
    run = create_reservation(ci)
    fence = acquire(ci, run)["fence"]
    answer = ci.post(HEARTBEAT, run_id=str(run.pk), fence=fence + 1)
    assert_refused(answer, 409, "lease_fenced")
    assert answer.json()["detail"] == f"The lease's fence is {fence} now; nothing was changed."


# --- release


def test_a_released_reservation_is_queued_and_the_next_waiter_is_granted(slot, ci):
    run, *waiting = [create_reservation(ci) for _ in range(3)]
    for each in (run, *waiting):
        acquire(ci, each)
    answer = ci.post(RELEASE, run_id=str(run.pk))
    assert answer.json() == {
        "released": True,
        "slot_id": "preview-1",
        "run_id": str(run.pk),
        "reason": None,
    }
    assert get_status(run) == Status.QUEUED
    assert acquire(ci, waiting[0])["acquired"]
    assert acquire(ci, waiting[1])["position"] == 1
    assert not Lease.objects.filter(run=run).exclude(state=LeaseState.ENDED).exists()


def test_a_repeated_release_returns_already_released(slot, ci):
    run, after = create_reservation(ci), create_reservation(ci)
    fence = acquire(ci, run)["fence"]
    ci.post(RELEASE, run_id=str(run.pk), fence=fence)
    acquire(ci, after)
    for body in ({}, {"fence": fence}):
        answer = ci.post(RELEASE, run_id=str(run.pk), **body)
        assert answer.status_code == 200
        assert answer.json()["released"] is False
        assert answer.json()["reason"] == "ALREADY_RELEASED"
    assert acquire(ci, after)["acquired"]


@pytest.mark.parametrize("status", [Status.PREPARING, Status.PREVIEW_READY])
def test_releasing_a_preview_cancels_its_run_and_cleans_the_slot(slots, ci, cleaner, status):
    run = RunFactory(created_by=ci.name)
    leases.request_slot(run, actor="ci")
    Run.objects.filter(pk=run.pk).update(status=status)
    assert ci.post(RELEASE, run_id=str(run.pk)).json()["released"]
    run.refresh_from_db()
    assert (run.status, run.failure_code) == (Status.CANCELED, "RELEASED")
    assert run.next_action
    assert cleaner.seen == ["preview-1"]
    assert Lease.objects.get(run=run).state == LeaseState.ENDED


def test_releasing_a_claimed_run_requests_its_stop_and_fences_it(slots, ci, cleaner):
    run = RunFactory(created_by=ci.name)
    leases.request_slot(run, actor="ci")
    claim_run(run)
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


def create_shipping_run(status):
    run = RunFactory(created_by="alice")
    leases.request_slot(run, actor="alice")
    Run.objects.filter(pk=run.pk).update(status=status)
    return run


@pytest.mark.parametrize("status", SHIPPING)
def test_releasing_a_run_that_ships_returns_409(slots, operator, status):
    run = create_shipping_run(status)
    assert_refused(operator.post(RELEASE, run_id=str(run.pk)), 409, "run_is_shipping")
    assert_refused(operator.post(RELEASE, run_id=str(run.pk), force=True), 400, "reason_required")
    assert Lease.objects.get(run=run).state == LeaseState.HELD


@pytest.mark.parametrize(
    ("status", "ends", "stop"),
    [
        (Status.APPROVED, Status.CANCELED, ""),
        (Status.MERGING, Status.MERGING, "canceled"),
        (Status.DEPLOYING, Status.DEPLOYING, ""),
    ],
)
def test_a_forced_release_with_a_reason_ends_the_lease_of_a_run_that_ships(
    slots, operator, cleaner, status, ends, stop
):
    run = create_shipping_run(status)
    answer = operator.post(RELEASE, run_id=str(run.pk), force=True, reason="a fire")
    assert answer.json()["released"]
    run.refresh_from_db()
    assert (run.status, run.stop_status) == (ends, stop)
    assert Lease.objects.get(run=run).state in (LeaseState.ENDING, LeaseState.ENDED)
    event = Event.objects.filter(run=run, kind="released").get()
    assert (event.actor, event.text) == (operator.name, "released by force: a fire")


def test_a_forced_release_of_an_approved_run_with_a_worker_leaves_it_to_the_worker(
    slots, operator, cleaner
):
    run = create_shipping_run(Status.APPROVED)
    claim_run(run)
    answer = operator.post(RELEASE, run_id=str(run.pk), force=True, reason="a fire")
    assert answer.json()["released"]
    run.refresh_from_db()
    assert (run.status, run.stop_status) == (Status.APPROVED, "canceled")
    assert Lease.objects.get(run=run).state == LeaseState.ENDING
    assert cleaner.seen == []  # its commands may still run there


def test_a_release_is_not_forced_unless_it_says_so(slots):
    run = create_shipping_run(Status.MERGING)
    [slot, *_] = settings.OROBOROS.slots
    with pytest.raises(Refused) as refused:
        reservations.release(slot, run.pk, actor="ada", owner=None)
    assert refused.value.code == "run_is_shipping"
    assert Lease.objects.get(run=run).state == LeaseState.HELD


def test_a_forced_release_needs_an_operator(slots, ci):
    run = create_reservation(ci)
    acquire(ci, run)
    answer = ci.post(RELEASE, run_id=str(run.pk), force=True, reason="mine")
    assert_refused(answer, 403, "forbidden")


# --- reap


def test_reap_expired_returns_the_fenced_leases(slots, ci, operator):
    run = create_reservation(ci)
    acquire(ci, run)
    assert operator.post(REAP).json() == {"expired_count": 0, "expired_slots": []}
    expire_lease(run)
    assert operator.post(REAP).json() == {"expired_count": 1, "expired_slots": ["preview-1"]}
    assert operator.post(REAP).json() == {"expired_count": 0, "expired_slots": []}


def test_reap_expired_accepts_a_post_without_a_body(slots, operator):
    assert operator.raw(REAP, b"", content_type="").status_code == 200


# --- the list


def test_the_list_of_slots_shows_the_holders(slots, ci):
    run = create_reservation(ci, title="look here")
    acquire(ci, run)
    first, second, third = ci.get("/api/slots").json()
    assert first["slot_id"] == "preview-1"
    assert (first["state"], first["lease_state"]) == ("leased", "held")
    assert (first["run_id"], first["run_title"]) == (str(run.pk), "look here")
    assert first["held_by"] == ci.name
    assert first["expires_at"] and first["heartbeat_at"] and first["held_since"]
    for free in (second, third):
        assert (free["state"], free["lease_state"], free["run_id"]) == ("free", None, None)


def test_the_list_of_slots_needs_the_same_queries_for_any_number_of_waiters(
    slots, ci, django_assert_num_queries
):
    ci.get("/api/slots")  # the token's first use in a minute is recorded
    for _ in range(3):
        with django_assert_num_queries(3):  # token, slots, leases
            ci.get("/api/slots")
        for _ in range(5):
            acquire(ci, create_reservation(ci))


# --- many at once


@pytest.mark.django_db(transaction=True)
def test_fifty_acquirers_of_one_slot_are_granted_in_order_without_an_error(settings):
    settings.QUEUE_LIMIT = 1000
    Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)
    caller = Caller("many", "view", "hold")
    runs = [create_reservation(caller) for _ in range(50)]
    answers = together(lambda run: acquire(caller, run), runs)
    assert sum(answer["acquired"] for answer in answers) == 1
    assert sorted(a["position"] for a in answers if not a["acquired"]) == [*range(1, 50)]
    order = Lease.objects.order_by("requested_at", "id").values_list("run_id", flat=True)
    granted = []
    for run_id in order:  # each lets go at once; the next must be the one who came next
        granted.append(Lease.objects.get(state=LeaseState.HELD).run_id)
        caller.post(RELEASE, run_id=str(run_id))
    assert granted == list(order)
    connection.close()
