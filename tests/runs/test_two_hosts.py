"""Two hosts share the database: each grants, cleans, reaps and executes for its own slots only."""

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from host.errors import Refused
from runs import presenters
from runs.leasing import (
    backend_supervision,
    cleanup,
    leases,
    maintenance,
    queue_status,
    reaper,
    reservations,
)
from runs.lifecycle import execution, reconciler
from runs.models import Run
from runs.rules import Status
from slots.management.commands.sync_slots import sync
from slots.models import Lease, Slot
from slots.rules import LeaseState
from slots.runtime import backend, disk_usage
from tests.factories import LeaseFactory, RunFactory, SlotFactory

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def capacity(monkeypatch):
    monkeypatch.setattr("runs.leasing.grants.explain_refusal", lambda: "")


@pytest.fixture
def their_slot():
    return SlotFactory(number=1, host="elsewhere")


@pytest.fixture
def their_lease(their_slot):
    """A run that is prepared on the other host's preview-1."""
    run = RunFactory(status=Status.PREPARING)
    return LeaseFactory(held=True, run=run, slot=their_slot, needs_cleanup=True)


@pytest.fixture
def executed(monkeypatch):
    found = []
    monkeypatch.setattr(execution, "_run_claimed", lambda config, run, claim: found.append(run.pk))
    return found


def test_sync_slots_creates_our_row_beside_the_other_hosts(their_slot):
    assert sync()[0] == ("preview-1", True)
    their_slot.refresh_from_db()
    assert their_slot.host == "elsewhere"
    assert Slot.objects.filter(slot_id="preview-1").count() == 2
    assert sync()[0] == ("preview-1", False)


def test_a_grant_gives_our_slots_only(their_slot):
    run = RunFactory()
    assert leases.request_slot(run, actor="ada").state == LeaseState.WAITING
    ours = SlotFactory(number=1)
    assert maintenance.drain(ours, reason="", actor="ada")
    assert maintenance.undrain(ours, actor="ada")
    assert Lease.objects.get(run=run).slot == ours


def test_the_reaper_leaves_an_expired_lease_to_its_own_host(their_lease):
    Lease.objects.filter(pk=their_lease.pk).update(expires_at=timezone.now() - HOUR)
    assert reaper.reap_expired().slot_ids == []
    their_lease.refresh_from_db()
    assert their_lease.state == LeaseState.HELD


def test_cleaning_is_left_to_the_slots_own_host(their_lease, monkeypatch):
    monkeypatch.setattr(cleanup, "clean_slot", lambda config, slot: pytest.fail("cleaned"))
    lease = leases.begin_ending(their_lease.run, reason="no more", to=Status.CANCELED, actor="ada")
    assert not cleanup.clean_and_finish(settings.OROBOROS, lease)
    their_lease.refresh_from_db()
    assert their_lease.state == LeaseState.ENDING


def test_a_worker_executes_the_runs_of_its_own_host_only(their_lease, executed):
    ours = RunFactory(status=Status.PREPARING)
    LeaseFactory(held=True, run=ours, slot=SlotFactory(number=1))
    assert not execution.execute_run(their_lease.run_id)
    execution.execute_next_granted()
    execution.execute_next_granted()
    assert set(executed) == {ours.pk}


def test_the_sweeper_enqueues_the_runs_of_its_own_host_only(their_lease):
    assert execution.enqueue_unclaimed_runs() == 0
    ours = RunFactory(status=Status.PREPARING)
    LeaseFactory(held=True, run=ours, slot=SlotFactory(number=1))
    assert execution.enqueue_unclaimed_runs() == 1


def test_a_run_without_a_slot_is_executed_by_every_host():
    run = RunFactory()
    assert list(Run.objects.on_host("local")) == list(Run.objects.on_host("elsewhere")) == [run]


def test_the_reconciler_checks_our_slots_only(their_lease, monkeypatch):
    for name in ("find_leftovers", "_prepare_missing_preview"):
        monkeypatch.setattr(reconciler, name, lambda *given: pytest.fail("looked at their slot"))
    Run.objects.filter(pk=their_lease.run_id).update(status=Status.PREVIEW_READY)
    assert list(reconciler._check_slots(settings.OROBOROS, True)) == []


def test_supervision_leaves_backends_of_another_host_to_it(their_lease, monkeypatch):
    Run.objects.filter(pk=their_lease.run_id).update(status=Status.PREVIEW_READY)
    for module, name in (
        (backend, "has_exited"),
        (backend, "restart"),
        (disk_usage, "describe_excess"),
    ):
        monkeypatch.setattr(module, name, lambda *given, **more: pytest.fail("their backend"))
    backend_supervision.check_backends(settings.OROBOROS)
    backend_supervision.check_disk_usage(settings.OROBOROS)
    backend_supervision.restart_backend(their_lease.pk, 0)


def test_the_list_of_slots_has_ours_only(their_lease):
    ours = SlotFactory(number=1)
    [status] = queue_status.list_slots()
    assert (status.slot, status.lease) == (ours, None)


def test_the_api_lists_and_drains_our_slots_only(their_lease, operator):
    ours = SlotFactory(number=1)
    [listed] = operator.get("/api/slots").json()
    assert (listed["slot_id"], listed["state"], listed["run_id"]) == ("preview-1", "free", None)
    assert operator.post("/api/slots/preview-1/drain", reason="a test").status_code == 200
    assert list(Slot.objects.exclude(drained_at=None)) == [ours]


def test_the_holder_of_another_hosts_slot_does_not_hold_ours(their_lease):
    slot = settings.OROBOROS.slots[0]
    SlotFactory(number=1)
    with pytest.raises(Refused) as refused:
        reservations.heartbeat(slot, their_lease.run_id, fence=None, owner=None)
    assert refused.value.code == "not_holder"
    with pytest.raises(Refused, match="does not hold"):
        reservations.release(slot, their_lease.run_id, actor="ada", owner=None)


@pytest.mark.parametrize("force", [False, True])
def test_a_reservation_on_another_host_is_not_released_here(their_slot, force):
    run = RunFactory(status=Status.HOLDING, prepare=False)
    lease = LeaseFactory(held=True, run=run, slot=their_slot)
    SlotFactory(number=1)
    with pytest.raises(Refused) as refused:
        reservations.release(
            settings.OROBOROS.slots[0], run.pk, actor="ada", owner=None, force=force, reason="why"
        )
    assert refused.value.code == "not_holder"
    lease.refresh_from_db()
    run.refresh_from_db()
    assert (lease.state, run.status) == (LeaseState.HELD, Status.HOLDING)


def test_a_run_on_another_host_has_no_address_here(their_lease):
    run = presenters.select_runs().get(pk=their_lease.run_id)
    assert presenters.get_slot(run) is None
