"""Where leases meet runs: the line, the grant, the fence."""

from dataclasses import replace

import pytest
from django.db import IntegrityError, transaction
from django_q.models import OrmQ

from host.errors import Refused
from runs.leasing import cleanup, grants, leases, maintenance, queue_status
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState, Room, SlotState
from tests.factories import RunFactory


def asked(**fields):
    run = RunFactory(**fields)
    lease = leases.ask(run, actor="alice")
    return run, lease


def kinds(run):
    return list(Event.objects.filter(run=run).order_by("id").values_list("kind", flat=True))


def test_a_run_that_asks_while_a_slot_is_free_is_prepared_at_once(slots):
    run, lease = asked()
    assert (lease.state, lease.slot, lease.fence) == (LeaseState.HELD, slots[0], 1)
    assert run.status == Status.PREPARING
    assert (lease.expires_at - lease.granted_at).total_seconds() == lease.ttl_seconds
    assert OrmQ.objects.count() == 1


def test_a_reservation_holds_its_slot_and_rings_nobody(slots):
    run, lease = asked(prepare=False)
    assert (run.status, lease.is_occupied) == (Status.HOLDING, False)
    assert OrmQ.objects.count() == 0


def test_a_run_that_asks_again_has_the_lease_it_had(slots):
    run, lease = asked()
    assert leases.ask(run, actor="alice").pk == lease.pk


def test_an_ended_run_cannot_wait(slots):
    with pytest.raises(Refused, match="only a queued run"):
        leases.ask(RunFactory(status=Status.CANCELED), actor="alice")


def test_those_who_wait_are_told_their_place(slot):
    asked()
    waiting = [asked()[0] for _ in range(3)]
    assert [leases.position(run) for run in waiting] == [1, 2, 3]
    assert queue_status.positions([run.pk for run in waiting]) == {
        run.pk: number for number, run in enumerate(waiting, start=1)
    }
    assert kinds(waiting[2]) == ["asked"]


def test_a_higher_priority_is_before_those_who_came_earlier(slot):
    holder, _ = asked()
    early, _ = asked()
    urgent, _ = asked(priority=5)
    assert (leases.position(urgent), leases.position(early)) == (1, 2)
    Lease.objects.filter(run=holder).update(is_occupied=False)
    leases.begin_ending(holder, reason="canceled", to=Status.CANCELED, actor="alice")
    assert Lease.objects.get(run=urgent).state == LeaseState.HELD
    assert leases.position(early) == 1


def test_a_line_has_a_bound(slot, settings):
    settings.QUEUE_LIMIT = 1
    asked()
    asked()
    with pytest.raises(Refused) as refused, transaction.atomic():
        asked()
    assert (refused.value.code, refused.value.status) == ("queue_full", 429)


def test_the_next_waiter_is_granted_in_the_transaction_that_ends_a_lease(slot, cleaner):
    run, _ = asked()
    after, _ = asked()
    with transaction.atomic():
        lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
        assert lease.state == LeaseState.ENDING
        assert Lease.objects.get(run=after).state == LeaseState.WAITING
        leases.finish_ending(lease)
        granted = Lease.objects.get(run=after)
        assert (granted.state, granted.slot, granted.fence) == (LeaseState.HELD, slot, 2)
    after.refresh_from_db()
    assert after.status == Status.PREPARING


def test_a_slot_is_cleaned_before_it_is_handed_on(slot, settings, cleaner):
    run, _ = asked()
    after, _ = asked()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert leases.clean_and_finish(settings.OROBOROS, lease)
    assert cleaner.seen == [slot.slot_id]
    assert Lease.objects.get(run=after).state == LeaseState.HELD
    assert Lease.objects.get(run=run).state == LeaseState.ENDED


def test_a_late_cleaner_leaves_the_next_run_alone(slot, settings, cleaner):
    run, _ = asked()
    asked()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    leases.clean_and_finish(settings.OROBOROS, lease)
    assert leases.clean_and_finish(settings.OROBOROS, lease)
    assert cleaner.seen == [slot.slot_id]


def test_what_is_not_clean_in_time_stays_cleaning(slot, settings, cleaner):
    run, _ = asked()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    cleaner.left = ["port 8101 is held by a stranger"]
    assert not leases.clean_and_finish(settings.OROBOROS, lease, deadline=0)
    assert queue_status.slots()[0].state == SlotState.CLEANING
    cleaner.left = []
    assert leases.clean_and_finish(settings.OROBOROS, lease)
    assert queue_status.slots()[0].state == SlotState.FREE


def test_what_cannot_be_cleaned_is_quarantined_and_never_handed_out(slot, settings, cleaner):
    run, _ = asked()
    after, _ = asked()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    cleaner.left = ["the database has sessions"]
    for _ in range(cleanup.CLEANINGS):
        leases.clean_and_finish(settings.OROBOROS, lease, deadline=0)
    slot.refresh_from_db()
    assert slot.quarantine_reason == "the database has sessions"
    assert queue_status.slots()[0].state == SlotState.QUARANTINED
    assert Lease.objects.get(run=after).state == LeaseState.WAITING
    with pytest.raises(Refused, match="stays quarantined"):
        cleanup.take_back(settings.OROBOROS, slot, actor="alice")
    cleaner.left = []
    assert cleanup.take_back(settings.OROBOROS, slot, actor="alice")
    assert Lease.objects.get(run=after).state == LeaseState.HELD


def test_a_run_that_waits_leaves_the_line_when_it_ends(slot):
    asked()
    run, _ = asked()
    after, _ = asked()
    assert leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice") is None
    assert Lease.objects.get(run=run).state == LeaseState.ENDED
    assert leases.position(after) == 1


def test_ending_again_changes_nothing(slot):
    run, _ = asked()
    lease = leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    again = leases.begin_ending(run, reason="other", actor="bob")
    assert (again.pk, again.end_reason) == (lease.pk, lease.end_reason)
    leases.finish_ending(lease)
    assert leases.begin_ending(run, reason="other", actor="bob") is None


def test_a_reservation_that_is_silent_leaves_the_line_when_the_next_asks(slot):
    asked(prepare=False)
    silent, lease = asked(prepare=False)
    Lease.objects.filter(pk=lease.pk).update(waits_until="2026-01-01T00:00Z")
    patient, _ = asked(prepare=False)
    assert Lease.objects.get(pk=lease.pk).end_reason == "silent"
    assert kinds(silent)[-1] == "left_line"
    silent.refresh_from_db()
    assert silent.status == Status.QUEUED
    assert leases.position(patient) == 1


def test_nothing_is_granted_without_room_and_the_line_says_so(slots, monkeypatch):
    monkeypatch.setattr("runs.leasing.grants.room", lambda: Room(memory_mb=10, disk_mb=10**6))
    run, lease = asked()
    assert (lease.state, run.status) == (LeaseState.WAITING, Status.QUEUED)
    assert "10 MiB of memory" in queue_status.line().refusal
    monkeypatch.setattr("runs.leasing.grants.room", lambda: Room(10**6, 10**6))
    grants.grant()
    assert Lease.objects.get(run=run).state == LeaseState.HELD


def test_a_drained_slot_keeps_its_holder_and_takes_nobody(slot):
    run, _ = asked()
    assert maintenance.drain(slot, reason="a new disk", actor="alice")
    assert queue_status.slots()[0].state == SlotState.LEASED
    after, _ = asked()
    Lease.objects.filter(run=run).update(is_occupied=False)
    leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert queue_status.slots()[0].state == SlotState.DRAINED
    assert maintenance.undrain(slot, actor="alice")
    assert Lease.objects.get(run=after).state == LeaseState.HELD


def test_draining_twice_is_once(slot):
    assert maintenance.drain(slot, reason="", actor="alice")
    assert not maintenance.drain(slot, reason="", actor="bob")
    assert Event.objects.filter(kind="drained").count() == 1


def test_what_a_run_holds_is_not_cleaned_when_its_slot_is_taken_back(slot, settings, cleaner):
    _, lease = asked()
    maintenance.quarantine(slot, reason="a look", actor="alice")
    slot.refresh_from_db()
    assert cleanup.take_back(settings.OROBOROS, slot, actor="alice")
    lease.refresh_from_db()
    assert (cleaner.seen, lease.state, lease.slot.quarantined_at) == ([], LeaseState.HELD, None)


def test_quarantine_wants_a_reason(slot):
    with pytest.raises(Refused, match="Say why"):
        maintenance.quarantine(slot, reason=" ", actor="alice")


def test_a_renewal_gives_the_whole_time_again_and_never_takes_any(slots):
    run, lease = asked()
    Lease.objects.filter(pk=lease.pk).update(ttl_seconds=lease.ttl_seconds + 60)
    leases.renew(run)
    lease.refresh_from_db()
    longer = lease.expires_at
    assert (longer - lease.granted_at).total_seconds() >= lease.ttl_seconds
    Lease.objects.filter(pk=lease.pk).update(ttl_seconds=1)
    leases.renew(run)
    lease.refresh_from_db()
    assert lease.expires_at == longer


def test_a_kept_preview_lasts_so_long_from_now(slots, settings):
    run, lease = asked()
    leases.keep(run, actor="alice", seconds=settings.PREVIEW_KEEP_SECONDS)
    lease.refresh_from_db()
    assert (lease.expires_at - lease.granted_at).total_seconds() >= settings.PREVIEW_KEEP_SECONDS
    assert kinds(run)[-1] == "kept"
    with pytest.raises(Refused, match="1 s to 72 h"):
        leases.keep(run, actor="alice", seconds=settings.PREVIEW_KEEP_SECONDS + 1)


@pytest.mark.parametrize("write", [leases.renew, leases.pin])
def test_nobody_writes_for_a_lease_that_ran_out(slots, write):
    run, lease = asked()
    Lease.objects.filter(pk=lease.pk).update(expires_at="2026-01-01T00:00Z")
    with pytest.raises(Refused) as refused:
        write(run)
    assert refused.value.code == "lease_fenced"
    lease.refresh_from_db()
    assert lease.expires_at.year == 2026 and not lease.is_pinned


def test_a_pinned_lease_is_held_open(slots):
    run, lease = asked()
    leases.pin(run)
    Lease.objects.filter(pk=lease.pk).update(expires_at="2026-01-01T00:00Z")
    leases.renew(run)
    leases.unpin(run)
    lease.refresh_from_db()
    assert not lease.is_pinned


def test_the_rows_themselves_forbid_two_leases_on_a_slot(slots):
    _, lease = asked()
    with pytest.raises(IntegrityError, match="slots_one_lease_on_a_slot"):
        Lease.objects.create(
            run=RunFactory(),
            slot=lease.slot,
            state=LeaseState.HELD,
            ttl_seconds=1,
            fence=lease.fence + 1,
            asked_at=lease.asked_at,
            granted_at=lease.asked_at,
            expires_at=lease.asked_at,
        )


def test_fences_grow_over_all_leases_of_a_slot(slot):
    fences = []
    for _ in range(4):
        run, lease = asked(prepare=False)
        fences.append(lease.fence)
        leases.begin_ending(run, reason="", to=Status.CANCELED, actor="alice")
    assert fences == [1, 2, 3, 4]
    assert Slot.objects.get(pk=slot.pk).fence == 4


def test_the_line_tells_what_is_held_and_how_long_one_waits(slot, django_assert_num_queries):
    asked(prepare=False)
    run, _ = asked(prepare=False)
    for _ in range(5):
        asked(prepare=False)
    Lease.objects.filter(slot=slot).update(granted_at="2026-01-01T00:00Z")
    leases.begin_ending(Run.objects.get(status=Status.HOLDING), reason="", to=Status.CANCELED,
                      actor="alice")  # fmt: skip
    with django_assert_num_queries(5):
        told = queue_status.line()
    assert told.waiting == 5
    assert told.slots[0].lease.run_id == run.pk
    usual = told.past_seconds[0]
    assert told.estimate(1) == pytest.approx(usual, rel=0.01)
    assert told.estimate(2) == pytest.approx(2 * usual, rel=0.01)


def test_a_slot_that_is_configured_no_longer_is_neither_granted_nor_shown(slots, settings):
    config = settings.OROBOROS
    settings.OROBOROS = replace(config, slots=config.slots[:1])
    runs = [asked()[0] for _ in range(2)]
    assert [run.status for run in runs] == [Status.PREPARING, Status.QUEUED]
    assert [view.slot for view in queue_status.slots()] == slots[:1]
