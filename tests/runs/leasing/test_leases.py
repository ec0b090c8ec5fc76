"""The leases of runs: requests, grants, fences, cleaning, maintenance."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_q.models import OrmQ

from core.clock import get_database_time
from host.errors import Refused
from runs.leasing import cleanup, grants, leases, maintenance, queue_status
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import Capacity, LeaseState, SlotState
from tests.factories import RunFactory


def request(**fields):
    run = RunFactory(**fields)
    lease = leases.request_slot(run, actor="alice")
    return run, lease


def get_position(run):
    return queue_status.get_positions([run.pk]).get(run.pk)


def kinds(run):
    return list(Event.objects.filter(run=run).order_by("id").values_list("kind", flat=True))


def test_request_with_a_free_slot_is_granted_at_once(slots):
    run, lease = request()
    assert (lease.state, lease.slot, lease.fence) == (LeaseState.HELD, slots[0], 1)
    assert run.status == Status.PREPARING
    assert (lease.expires_at - lease.granted_at).total_seconds() == lease.ttl_seconds
    assert OrmQ.objects.count() == 1


def test_grant_moves_no_run_that_has_ended(slots):
    run = RunFactory(status=Status.CANCELED)
    Lease.objects.create(run=run, ttl_seconds=60, requested_at=timezone.now())
    assert [grant.run_id for grant in grants.grant_slots()] == [run.pk]
    run.refresh_from_db()
    assert run.status == Status.CANCELED


def test_reservation_holds_its_slot_and_enqueues_nothing(slots):
    run, lease = request(prepare=False)
    assert (run.status, lease.needs_cleanup) == (Status.HOLDING, False)
    assert OrmQ.objects.count() == 0


def test_repeated_request_returns_the_same_lease(slots):
    run, lease = request()
    assert leases.request_slot(run, actor="alice").pk == lease.pk


def test_polling_for_a_slot_takes_no_ids(slot):
    request()
    run, first = request(prepare=False)
    for _ in range(5):
        leases.request_slot(run, actor="alice")
    later = Lease.objects.get(pk=first.pk)
    assert later.waits_until > first.waits_until
    assert request()[1].pk == first.pk + 1


def test_request_of_an_ended_run_is_refused(slots):
    with pytest.raises(Refused, match="is canceled; only a queued run") as refused:
        leases.request_slot(RunFactory(status=Status.CANCELED), actor="alice")
    assert (refused.value.code, refused.value.status) == ("not_queued", 409)


def test_waiting_runs_have_positions_in_order(slot):
    request()
    waiting = [request()[0] for _ in range(3)]
    assert [get_position(run) for run in waiting] == [1, 2, 3]
    assert queue_status.get_positions([run.pk for run in waiting]) == {
        run.pk: number for number, run in enumerate(waiting, start=1)
    }
    assert kinds(waiting[2]) == ["requested"]


def test_higher_priority_is_ahead_of_earlier_requests(slot):
    holder, _ = request()
    early, _ = request()
    urgent, _ = request(priority=5)
    assert (get_position(urgent), get_position(early)) == (1, 2)
    Lease.objects.filter(run=holder).update(needs_cleanup=False)
    leases.begin_ending(holder, reason="canceled", to=Status.CANCELED, actor="alice")
    assert Lease.objects.get(run=urgent).state == LeaseState.HELD
    assert get_position(early) == 1


def test_full_queue_refuses_requests(slot, settings):
    settings.QUEUE_LIMIT = 1
    request()
    request()
    with pytest.raises(Refused) as refused, transaction.atomic():
        request()
    assert (refused.value.code, refused.value.status) == ("queue_full", 429)
    assert refused.value.detail == "1 runs wait for a slot already; try again later."
    settings.QUEUE_LIMIT = 2
    request()
    with pytest.raises(Refused, match="2 runs wait"), transaction.atomic():
        request()


def test_the_next_waiter_is_granted_in_the_transaction_that_ends_a_lease(slot, cleaner):
    run, _ = request()
    after, _ = request()
    with transaction.atomic():
        lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
        assert lease.state == LeaseState.ENDING
        assert Lease.objects.get(run=after).state == LeaseState.WAITING
        cleanup.finish_ending(lease)
        granted = Lease.objects.get(run=after)
        assert (granted.state, granted.slot, granted.fence) == (LeaseState.HELD, slot, 2)
    after.refresh_from_db()
    assert after.status == Status.PREPARING


def test_slot_is_cleaned_before_it_is_granted_again(slot, settings, cleaner):
    run, _ = request()
    after, _ = request()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert cleanup.clean_and_finish(settings.OROBOROS, lease)
    assert cleaner.seen == [slot.slot_id]
    assert Lease.objects.get(run=after).state == LeaseState.HELD
    assert Lease.objects.get(run=run).state == LeaseState.ENDED


def test_late_cleanup_leaves_the_next_run_alone(slot, settings, cleaner):
    run, _ = request()
    request()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    cleanup.clean_and_finish(settings.OROBOROS, lease)
    assert cleanup.clean_and_finish(settings.OROBOROS, lease)
    assert cleaner.seen == [slot.slot_id]


def test_slot_that_is_not_clean_in_time_stays_cleaning(slot, settings, cleaner):
    run, _ = request()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    cleaner.left = ["port 8101 is held by a stranger"]
    assert not cleanup.clean_and_finish(settings.OROBOROS, lease, seconds=0)
    assert queue_status.list_slots()[0].state == SlotState.CLEANING
    cleaner.left = []
    assert cleanup.clean_and_finish(settings.OROBOROS, lease)
    assert queue_status.list_slots()[0].state == SlotState.FREE


def test_slot_that_cannot_be_cleaned_is_quarantined(slot, settings, cleaner):
    run, _ = request()
    after, _ = request()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    cleaner.left = ["the database has sessions"]
    for _ in range(cleanup.MAX_CLEANUPS):
        cleanup.clean_and_finish(settings.OROBOROS, lease, seconds=0)
    slot.refresh_from_db()
    assert slot.quarantine_reason == "the database has sessions"
    assert queue_status.list_slots()[0].state == SlotState.QUARANTINED
    assert Lease.objects.get(run=after).state == LeaseState.WAITING
    with pytest.raises(Refused, match="stays quarantined"):
        cleanup.return_to_service(settings.OROBOROS, slot, actor="alice")
    cleaner.left = []
    assert cleanup.return_to_service(settings.OROBOROS, slot, actor="alice")
    assert Lease.objects.get(run=after).state == LeaseState.HELD


def test_waiting_run_leaves_the_queue_when_it_ends(slot):
    request()
    run, _ = request()
    after, _ = request()
    assert leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice") is None
    assert Lease.objects.get(run=run).state == LeaseState.ENDED
    assert get_position(after) == 1


@pytest.mark.parametrize(("code", "end_reason"), [("RELEASED", "RELEASED"), ("", "by hand")])
def test_a_lease_that_ends_is_recorded_with_its_reason_and_fence(slot, code, end_reason):
    run, lease = request()
    ending = leases.begin_ending(
        run, reason="by hand", to=Status.CANCELED, code=code, actor="alice"
    )
    assert (ending.pk, ending.state, ending.end_reason) == (lease.pk, "ending", end_reason)
    run.refresh_from_db()
    assert (run.status, run.failure_code, run.failure_detail) == ("canceled", code, "by hand")
    [event] = Event.objects.filter(run=run, kind="lease_ended")
    assert (event.actor, event.slot_id) == ("alice", "preview-1")
    assert event.text == f"the lease on preview-1 ended: {end_reason}"
    assert event.data == {"fence": lease.fence, "reason": end_reason}


def test_a_lease_ends_alone_if_the_run_is_not_to_move(slot):
    run, _ = request()
    leases.begin_ending(run, reason="by hand", actor="alice")
    run.refresh_from_db()
    assert (run.status, run.failure_detail) == (Status.PREPARING, "")


def test_the_end_of_a_lease_that_only_waited_is_no_end_of_a_slots_lease(slot):
    request()
    run, _ = request()
    leases.begin_ending(run, reason="by hand", actor="alice")
    assert "lease_ended" not in kinds(run)
    assert Lease.objects.get(run=run).end_reason == "by hand"


def test_begin_ending_twice_changes_nothing(slot):
    run, _ = request()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    again = leases.begin_ending(run, reason="other", actor="bob")
    assert (again.pk, again.end_reason) == (lease.pk, lease.end_reason)
    cleanup.finish_ending(lease)
    assert leases.begin_ending(run, reason="other", actor="bob") is None


def test_reservation_that_times_out_leaves_the_queue_at_the_next_request(slot):
    request(prepare=False)
    silent, lease = request(prepare=False)
    Lease.objects.filter(pk=lease.pk).update(waits_until="2026-01-01T00:00Z")
    patient, _ = request(prepare=False)
    assert Lease.objects.get(pk=lease.pk).end_reason == "did not renew its request"
    assert kinds(silent)[-1] == "left_queue"
    silent.refresh_from_db()
    assert silent.status == Status.QUEUED
    assert get_position(patient) == 1


@pytest.mark.parametrize(
    ("seconds", "states"),
    [(-1, [LeaseState.ENDED, LeaseState.HELD]), (60, [LeaseState.HELD, LeaseState.WAITING])],
)
def test_reservation_that_timed_out_is_not_granted_the_slot_that_becomes_free(
    slot, seconds, states
):
    holder, _ = request(prepare=False)
    waiting = [request(prepare=False)[1] for _ in range(2)]
    waits_until = get_database_time() + timedelta(seconds=seconds)
    Lease.objects.filter(pk=waiting[0].pk).update(waits_until=waits_until)
    leases.begin_ending(holder, reason="", to=Status.CANCELED, actor="alice")
    assert [Lease.objects.get(pk=lease.pk).state for lease in waiting] == states


def test_nothing_is_granted_without_free_capacity_and_the_queue_status_says_why(slots, monkeypatch):
    monkeypatch.setattr(
        "runs.leasing.grants.read_free_capacity", lambda: Capacity(memory_mb=10, disk_mb=10**6)
    )
    run, lease = request()
    assert (lease.state, run.status) == (LeaseState.WAITING, Status.QUEUED)
    assert "10 MiB of memory" in queue_status.read_queue_status().refusal
    monkeypatch.setattr("runs.leasing.grants.read_free_capacity", lambda: Capacity(10**6, 10**6))
    grants.grant_slots()
    assert Lease.objects.get(run=run).state == LeaseState.HELD


def test_drained_slot_keeps_its_holder_and_is_not_granted(slot):
    run, _ = request()
    assert maintenance.drain(slot, reason="a new disk", actor="alice")
    assert queue_status.list_slots()[0].state == SlotState.LEASED
    after, _ = request()
    Lease.objects.filter(run=run).update(needs_cleanup=False)
    leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert queue_status.list_slots()[0].state == SlotState.DRAINED
    assert maintenance.undrain(slot, actor="alice")
    assert Lease.objects.get(run=after).state == LeaseState.HELD


def test_second_drain_changes_nothing(slot):
    assert maintenance.drain(slot, reason="", actor="alice")
    assert not maintenance.drain(slot, reason="", actor="bob")
    assert Event.objects.filter(kind="drained").count() == 1


def test_held_slot_is_returned_to_service_without_cleaning(slot, settings, cleaner):
    _, lease = request()
    maintenance.quarantine(slot, reason="a look", actor="alice")
    slot.refresh_from_db()
    assert cleanup.return_to_service(settings.OROBOROS, slot, actor="alice")
    lease.refresh_from_db()
    assert (cleaner.seen, lease.state, lease.slot.quarantined_at) == ([], LeaseState.HELD, None)


@pytest.mark.parametrize("state", [LeaseState.HELD, LeaseState.ENDING])
def test_slot_that_was_granted_since_it_was_examined_is_not_cleaned(slot, settings, cleaner, state):
    _, lease = request()
    Lease.objects.filter(pk=lease.pk).update(state=state)
    reason = "leftovers of a run"
    assert not cleanup.clean_free_slot(settings.OROBOROS, slot, reason=reason, actor="worker")
    slot.refresh_from_db()
    assert (cleaner.seen, slot.quarantined_at) == ([], None)


def test_free_slot_is_cleaned_and_granted_again_unless_a_person_quarantined_it(
    slot, settings, cleaner
):
    def clean():
        return cleanup.clean_free_slot(settings.OROBOROS, slot, reason="leftovers", actor="worker")

    assert clean()
    slot.refresh_from_db()
    assert (cleaner.seen, slot.quarantined_at) == ([slot.slot_id], None)
    maintenance.quarantine(slot, reason="a look", actor="alice")
    assert not clean()
    slot.refresh_from_db()
    assert (cleaner.seen, slot.quarantine_reason) == ([slot.slot_id], "a look")


def test_quarantine_without_a_reason_is_refused(slot):
    with pytest.raises(Refused, match="Say why"):
        maintenance.quarantine(slot, reason=" ", actor="alice")


def test_renewal_gives_the_whole_ttl_and_never_shortens_the_lease(slots):
    run, lease = request()
    Lease.objects.filter(pk=lease.pk).update(ttl_seconds=lease.ttl_seconds + 60)
    leases.renew_lease(run)
    lease.refresh_from_db()
    longer = lease.expires_at
    assert (longer - lease.granted_at).total_seconds() >= lease.ttl_seconds
    Lease.objects.filter(pk=lease.pk).update(ttl_seconds=1)
    leases.renew_lease(run)
    lease.refresh_from_db()
    assert lease.expires_at == longer


@pytest.mark.parametrize("seconds", [-1, 0])
def test_keep_for_less_than_a_second_is_refused(slots, seconds):
    run, lease = request()
    with pytest.raises(Refused, match="1 s to 72 h") as refused:
        leases.keep(run, actor="alice", seconds=seconds)
    assert (refused.value.code, refused.value.status) == ("keep_too_long", 400)
    leases.keep(run, actor="alice", seconds=1)
    assert Lease.objects.get(pk=lease.pk).expires_at == lease.expires_at


def test_keep_extends_the_lease_from_now(slots, settings):
    run, lease = request()
    leases.keep(run, actor="alice", seconds=settings.PREVIEW_KEEP_SECONDS)
    lease.refresh_from_db()
    assert (lease.expires_at - lease.granted_at).total_seconds() >= settings.PREVIEW_KEEP_SECONDS
    event = Event.objects.filter(run=run).order_by("id").last()
    limit = settings.PREVIEW_KEEP_SECONDS
    assert (event.kind, event.actor, event.data) == ("kept", "alice", {"seconds": limit})
    assert event.text == f"keeps its slot for at least {limit} s"
    with pytest.raises(Refused, match="1 s to 72 h"):
        leases.keep(run, actor="alice", seconds=settings.PREVIEW_KEEP_SECONDS + 1)


@pytest.mark.parametrize("write", [leases.renew_lease, leases.pin_lease])
def test_expired_lease_cannot_be_renewed_or_pinned(slots, write):
    run, lease = request()
    Lease.objects.filter(pk=lease.pk).update(expires_at="2026-01-01T00:00Z")
    with pytest.raises(Refused) as refused:
        write(run)
    assert refused.value.code == "lease_fenced"
    lease.refresh_from_db()
    assert lease.expires_at.year == 2026 and not lease.is_pinned


def test_pinned_lease_does_not_expire(slots):
    run, lease = request()
    leases.pin_lease(run)
    Lease.objects.filter(pk=lease.pk).update(expires_at="2026-01-01T00:00Z")
    leases.renew_lease(run)
    leases.unpin_lease(run)
    lease.refresh_from_db()
    assert not lease.is_pinned


def test_constraint_forbids_two_leases_on_a_slot(slots):
    _, lease = request()
    with pytest.raises(IntegrityError, match="slots_one_lease_on_a_slot"):
        Lease.objects.create(
            run=RunFactory(),
            slot=lease.slot,
            state=LeaseState.HELD,
            ttl_seconds=1,
            fence=lease.fence + 1,
            requested_at=lease.requested_at,
            granted_at=lease.requested_at,
            expires_at=lease.requested_at,
        )


def test_fences_grow_over_all_leases_of_a_slot(slot):
    fences = []
    for _ in range(4):
        run, lease = request(prepare=False)
        fences.append(lease.fence)
        leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert fences == [1, 2, 3, 4]
    assert Slot.objects.get(pk=slot.pk).fence == 4


def test_queue_status_has_holders_and_an_estimate_of_the_wait(slot, django_assert_num_queries):
    request(prepare=False)
    run, _ = request(prepare=False)
    for _ in range(5):
        request(prepare=False)
    Lease.objects.filter(slot=slot).update(granted_at=timezone.now() - timedelta(minutes=10))
    leases.begin_ending(Run.objects.get(status=Status.HOLDING), reason="", to=Status.CANCELED,
                      actor="alice")  # fmt: skip
    with django_assert_num_queries(5):
        told = queue_status.read_queue_status()
    assert told.waiting == 5
    assert told.slots[0].lease.run_id == run.pk
    usual = told.past_seconds[0]
    assert told.estimate_wait(1) == pytest.approx(usual, rel=0.01)
    assert told.estimate_wait(2) == pytest.approx(2 * usual, rel=0.01)
    # The lease ends before the usual time is over.
    Lease.objects.filter(run=run).update(expires_at=timezone.now() + timedelta(seconds=20))
    told = queue_status.read_queue_status()
    assert 0 < told.estimate_wait(1) <= 20
    assert told.forecast_wait(1).slot_id == slot.slot_id
    assert told.forecast_wait(2).latest_at is None


def test_slot_that_is_not_configured_is_neither_granted_nor_listed(slots, settings):
    config = settings.OROBOROS
    settings.OROBOROS = replace(config, slots=config.slots[:1], slot_count=1)
    runs = [request()[0] for _ in range(2)]
    assert [run.status for run in runs] == [Status.PREPARING, Status.QUEUED]
    assert [view.slot for view in queue_status.list_slots()] == slots[:1]
