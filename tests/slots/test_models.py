"""State changes of leases and slots: one conditional UPDATE each, refused if it changes no row."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from slots.models import Lease, LeaseMoveRefused, Slot
from slots.rules import LEASE_MOVES, LeaseState
from tests.factories import LeaseFactory, SlotFactory

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def test_a_held_lease_that_needs_no_cleanup_ends_at_once():
    lease = LeaseFactory(held=True, needs_cleanup=False)
    lease.begin_ending(reason="over")
    assert (lease.state, lease.end_reason) == (LeaseState.ENDED, "over")
    assert lease.ended_at is not None


def test_a_held_lease_that_needs_cleanup_is_ending_until_it_is_finished():
    lease = LeaseFactory(held=True, needs_cleanup=True, is_pinned=True)
    lease.begin_ending(reason="over")
    assert (lease.state, lease.is_pinned, lease.ended_at) == (LeaseState.ENDING, False, None)
    lease.finish_ending()
    assert lease.state == LeaseState.ENDED


def test_a_waiting_lease_ends_at_once():
    lease = LeaseFactory(needs_cleanup=True)
    lease.begin_ending(reason="canceled")
    assert lease.state == LeaseState.ENDED


def test_an_ended_lease_cannot_end_again():
    lease = LeaseFactory(held=True, state=LeaseState.ENDED, ended_at=timezone.now())
    with pytest.raises(LeaseMoveRefused, match="cannot become"):
        lease.begin_ending(reason="again")


def test_a_move_of_a_lease_that_another_process_moved_is_refused_and_changes_nothing():
    lease = LeaseFactory(held=True)
    Lease.objects.get(pk=lease.pk).begin_ending(reason="the rival's")
    with pytest.raises(LeaseMoveRefused, match="no longer held"):
        lease.begin_ending(reason="mine")
    lease.refresh_from_db()
    assert lease.end_reason == "the rival's"


def test_a_state_that_a_lease_has_left_is_never_reached_again():
    order = list(LeaseState)
    for state, targets in LEASE_MOVES.items():
        assert all(order.index(target) > order.index(state) for target in targets)


def test_a_valid_lease_is_extended_and_never_shortened():
    lease = LeaseFactory(held=True)
    before = lease.expires_at
    lease.extend(timedelta(days=2))
    after = lease.expires_at
    assert after > before
    lease.extend(HOUR)
    assert lease.expires_at == after


@pytest.mark.parametrize("change", [Lease.extend, Lease.pin])
def test_an_expired_lease_cannot_be_changed(change):
    lease = LeaseFactory(held=True)
    Lease.objects.filter(pk=lease.pk).update(expires_at=timezone.now() - HOUR)
    with pytest.raises(LeaseMoveRefused, match="not valid"):
        change(lease)


def test_a_pinned_lease_does_not_expire_until_it_is_unpinned():
    lease = LeaseFactory(held=True)
    lease.pin()
    Lease.objects.filter(pk=lease.pk).update(expires_at=timezone.now() - HOUR)
    assert not Lease.objects.expired(timezone.now())
    lease.unpin()
    assert Lease.objects.expired(timezone.now()).get() == lease


@pytest.mark.parametrize(
    "change",
    [
        lambda lease: lease.begin_ending(reason="over"),
        lambda lease: lease.extend(48 * HOUR),
        Lease.pin,
        Lease.unpin,
        Lease.count_cleanup,
        lambda lease: lease.mark_unhealthy(timezone.now()),
        lambda lease: lease.mark_healthy(forget_restarts=True),
        lambda lease: lease.count_restart(next_at=timezone.now() + HOUR),
        lambda lease: lease.count_processes(["web"]),
        lambda lease: lease.finish_restart(delay=HOUR),
    ],
)
def test_a_change_of_a_lease_leaves_the_others_as_they_are(change):
    fields = {"held": True, "restarts": 2, "restart_at": timezone.now(), "is_pinned": True}
    lease, other = LeaseFactory(**fields), LeaseFactory(**fields)
    before = Lease.objects.filter(pk=other.pk).values().get()
    change(lease)
    assert Lease.objects.filter(pk=other.pk).values().get() == before


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (lambda slot: slot.quarantine(reason="no"), Slot.end_quarantine),
        (lambda slot: slot.begin_cleaning(reason="no"), Slot.end_cleaning),
        (lambda slot: slot.drain(reason="no", actor="ann"), Slot.undrain),
    ],
)
def test_a_change_of_a_slot_and_its_undo_leave_the_others_as_they_are(change, undo):
    slot, other = SlotFactory(), SlotFactory()
    before = Slot.objects.filter(pk=other.pk).values().get()
    assert change(slot)
    assert Slot.objects.filter(pk=other.pk).values().get() == before
    assert change(other)
    before = Slot.objects.filter(pk=other.pk).values().get()
    assert undo(slot)
    assert Slot.objects.filter(pk=other.pk).values().get() == before


def test_one_of_two_processes_counts_a_restart():
    lease = LeaseFactory(held=True)
    rival = Lease.objects.get(pk=lease.pk)
    assert rival.count_restart(next_at=timezone.now())
    assert not lease.count_restart(next_at=timezone.now())
    assert (rival.restarts, lease.restarts) == (1, 0)


def test_a_healthy_backend_keeps_its_restarts_until_they_are_forgotten():
    lease = LeaseFactory(held=True)
    lease.count_restart(next_at=timezone.now())
    lease.mark_unhealthy(timezone.now())
    lease.refresh_from_db()
    lease.mark_healthy(forget_restarts=False)
    lease.refresh_from_db()
    assert (lease.unhealthy_at, lease.restarts) == (None, 1)
    lease.mark_healthy(forget_restarts=True)
    lease.refresh_from_db()
    assert (lease.restarts, lease.restart_at) == (0, None)


def test_a_slot_is_quarantined_and_drained_once():
    slot = SlotFactory()
    assert [slot.quarantine(reason="strange"), slot.quarantine(reason="again")] == [True, False]
    assert [slot.drain(reason="", actor="ada"), slot.drain(reason="", actor="bob")] == [True, False]
    assert (slot.quarantine_reason, slot.drained_by) == ("strange", "ada")
    assert [slot.end_quarantine(), slot.end_quarantine()] == [True, False]
    assert [slot.undrain(), slot.undrain()] == [True, False]


def test_two_hosts_may_have_a_slot_of_the_same_name_and_number():
    ours, theirs = SlotFactory(number=1), SlotFactory(number=1, host="elsewhere")
    assert ours.pk != theirs.pk
    assert list(Slot.objects.on_host("elsewhere")) == [theirs]


@pytest.mark.parametrize("fields", [{"slot_id": "preview-9"}, {"number": 9}])
def test_a_host_has_each_slot_name_and_each_number_once(fields):
    SlotFactory(number=1)
    with pytest.raises(IntegrityError, match="slots_one_slot_per"):
        Slot.objects.create(**{"host": "local", "slot_id": "preview-1", "number": 1, **fields})
