"""Leases under random sequences of actions by runs, the reaper and operators, on PostgreSQL.

The checker reads rows only; the last tests seed the bugs it is there to find.
"""

import os
import time
import uuid
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from core.clock import get_database_time
from host.errors import Refused
from runs.leasing import cleanup, grants, leases, maintenance, reaper, reservations
from runs.models import Run
from runs.rules import FINAL, Status
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, Capacity, LeaseState
from tests.factories import RunFactory
from tests.slots import history

# A seeded bug is only to be found, not made small.
SEARCH = (Phase.generate,)
SLOTS = 2
PLENTY_MB = 10**6
EXAMPLES = int(os.environ.get("OROBOROS_EXAMPLES", "25"))
EXPECTED_REFUSALS = {
    "lease_fenced",
    "not_holder",
    "run_ended",
    "run_is_shipping",
    "reason_required",
    "not_clean",
}


class Pool(RuleBasedStateMachine):
    """Two slots. A `holders` entry is what a client remembers of its lease, stale or not."""

    runs = Bundle("runs")
    holders = Bundle("holders")

    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.capacity.memory_mb = PLENTY_MB
        self.cleaner.is_stuck = False
        self.skew.hours = 0
        for slot in self.config.slots[:SLOTS]:
            Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host="local")

    def teardown(self):
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def of(self, slot_id):
        return Slot.objects.get(slot_id=slot_id)

    def attempt(self, action):
        """Run the action; a refusal must be an expected one, and must change nothing."""
        grants.grant_slots()  # also ends the waits that timed out
        before = list(Lease.objects.order_by("id").values())
        try:
            return action()
        except Refused as refused:
            assert refused.code in EXPECTED_REFUSALS, refused.code
            if refused.code in ("lease_fenced", "not_holder"):
                assert list(Lease.objects.order_by("id").values()) == before
            return None

    # -- what runs do

    @initialize(target=runs, kinds=st.lists(st.booleans(), min_size=4, max_size=6))
    def create_runs(self, kinds):
        """Create more runs than slots, so that some wait from the start."""
        made = [self.make(0, prepare) for prepare in kinds]
        for run in made:
            self.request_slot(run, 60)
        return multiple(*made)

    @rule(target=runs, priority=st.integers(0, 2), prepare=st.booleans())
    def create_run(self, priority, prepare):
        return self.make(priority, prepare)

    def make(self, priority, prepare):
        run = RunFactory(priority=priority, prepare=prepare)
        if prepare:
            leases.request_slot(run, actor="alice")
        return run.pk

    @rule(target=holders, run=runs, ttl=st.integers(1, 100))
    def acquire(self, run, ttl):
        return self.request_slot(run, ttl)

    def request_slot(self, run, ttl):
        answer = self.attempt(
            lambda: reservations.acquire(run, actor="alice", owner=None, ttl_seconds=ttl)
        )
        if answer is None or answer.slot_id is None:
            return (run, "preview-1", 0)
        return (run, answer.slot_id, answer.fence)

    @rule(holder=holders, knows=st.booleans())
    def heartbeat(self, holder, knows):
        run, slot_id, fence = holder
        slot = self.config.slot(slot_id)
        self.attempt(
            lambda: reservations.heartbeat(
                slot, run, fence=fence or 1 if knows else None, owner=None
            )
        )

    @rule(holder=holders, knows=st.booleans(), force=st.booleans())
    def release(self, holder, knows, force):
        self.release_slot(*holder, knows=knows, force=force)

    def release_slot(self, run, slot_id, fence, *, knows, force=False):
        self.attempt(
            lambda: reservations.release(
                self.config.slot(slot_id),
                run,
                actor="alice",
                owner=None,
                fence=fence or 1 if knows else None,
                force=force,
                reason="because" if force else "",
            )
        )

    @precondition(lambda self: Lease.objects.filter(state=LeaseState.HELD).exists())
    @rule()
    def release_the_oldest(self):
        lease = Lease.objects.filter(state=LeaseState.HELD).select_related("slot").first()
        self.release_slot(lease.run_id, lease.slot.slot_id, lease.fence, knows=True)

    @rule(run=runs)
    def make_ready(self, run):
        Run.objects.filter(pk=run, status=Status.PREPARING).update(status=Status.PREVIEW_READY)

    @rule(run=runs)
    def approve(self, run):
        found = Run.objects.get(pk=run)
        if found.status == Status.PREVIEW_READY:
            self.attempt(lambda: leases.pin_lease(found))
            if Lease.objects.filter(run=run, is_pinned=True).exists():
                Run.objects.filter(pk=run).update(status=Status.APPROVED)

    @rule(run=runs)
    def cancel(self, run):
        found = Run.objects.get(pk=run)
        if found.status not in (*FINAL, Status.DEPLOYING):
            lease = leases.begin_ending(found, reason="", to=Status.CANCELED, actor="bob")
            cleanup.clean_and_finish(self.config, lease, seconds=0)

    @rule(run=runs)
    def claim_run(self, run):
        """A worker claims the run; it has no work for a reservation or a waiting run."""
        idle = (Status.QUEUED, Status.HOLDING, *FINAL)
        Run.objects.exclude(status__in=idle).claim(run, f"worker {uuid.uuid4()}")

    @rule(run=runs)
    def lose_the_claim(self, run):
        """The claim expires, and the next worker does what the run was asked to do."""
        past = get_database_time() - timedelta(seconds=1)
        Run.objects.filter(pk=run, claim_expires_at__gt=past).update(claim_expires_at=past)
        found = Run.objects.get(pk=run)
        if found.stop_status and found.status not in FINAL:
            lease = leases.begin_ending(
                found, reason="", to=Status(found.stop_status), actor="worker"
            )
            cleanup.clean_and_finish(self.config, lease, seconds=0)

    # -- time and operators

    @rule(run=runs)
    def expire_lease(self, run):
        """The lease expires while its owner is stopped."""
        past = get_database_time() - timedelta(seconds=1)
        Lease.objects.filter(run=run, state=LeaseState.HELD).update(expires_at=past)

    @rule(run=runs)
    def expire_reservation(self, run):
        past = get_database_time() - timedelta(seconds=1)
        Lease.objects.filter(run=run, waits_until__isnull=False).update(waits_until=past)

    @rule(hours=st.sampled_from([-1, 0, 1]))
    def shift_pythons_clock(self, hours):
        """Python's clock must not affect any decision: the database's does."""
        self.skew.hours = hours

    @rule()
    def reap(self):
        reaper.reap_expired()

    @rule(slot=st.integers(1, SLOTS), undo=st.booleans())
    def drain(self, slot, undo):
        found = self.of(f"preview-{slot}")
        if undo:
            maintenance.undrain(found, actor="bob")
        else:
            maintenance.drain(found, reason="", actor="bob")

    @rule(slot=st.integers(1, SLOTS), undo=st.booleans())
    def quarantine(self, slot, undo):
        found = self.of(f"preview-{slot}")
        if not undo:
            maintenance.quarantine(found, reason="strange", actor="bob")
        elif not Lease.objects.filter(slot=found, state__in=STATES_WITH_SLOT).exists():
            self.attempt(lambda: cleanup.return_to_service(self.config, found, actor="bob"))

    @rule(stuck=st.booleans())
    def break_cleaning(self, stuck):
        """Cleaning fails for a while; after too many attempts the slot is quarantined."""
        self.cleaner.is_stuck = stuck

    @rule(full=st.booleans())
    def fill_the_host(self, full):
        self.capacity.memory_mb = 0 if full else PLENTY_MB

    @precondition(lambda self: Lease.objects.filter(state=LeaseState.ENDING).exists())
    @rule()
    def finish_cleaning(self):
        for lease in Lease.objects.filter(state=LeaseState.ENDING).select_related("run", "slot"):
            if lease.run.status in (*FINAL, Status.DEPLOYING):
                cleanup.clean_and_finish(self.config, lease, seconds=0)

    # -- what must always be so

    @invariant()
    def history_has_no_faults(self):
        assert history.find_faults(history.read_history()) == []

    @invariant()
    def lease_and_run_agree(self):
        held = Lease.objects.filter(state=LeaseState.HELD).select_related("run")
        for lease in held:
            assert lease.run.status not in (Status.QUEUED, *FINAL)
        for lease in Lease.objects.filter(state=LeaseState.WAITING).select_related("run"):
            assert lease.run.status == Status.QUEUED
        unheld = Run.objects.filter(status=Status.HOLDING).exclude(leases__state=LeaseState.HELD)
        assert not unheld.exists()

    @invariant()
    def no_free_slot_while_a_run_waits(self):
        """After one grant, no slot is free while a run waits."""
        if self.capacity.memory_mb == 0:
            return
        grants.grant_slots()
        free = Slot.objects.filter(drained_at=None, quarantined_at=None).exclude(
            leases__state__in=STATES_WITH_SLOT
        )
        waiting = Lease.objects.filter(state=LeaseState.WAITING)
        assert not (free.exists() and waiting.exists())

    @invariant()
    def held_fence_is_the_slots_newest(self):
        stale = Lease.objects.filter(state=LeaseState.HELD).exclude(fence=F("slot__fence"))
        assert not stale.exists()


class ShiftedClock:
    """Python's clock, shifted by some hours."""

    hours = 0

    def __init__(self):
        self.time, self.now = time.time, timezone.now

    def shifted_time(self):
        return self.time() + self.hours * 3600

    def shifted_now(self):
        return self.now() + timedelta(hours=self.hours)


class FakeCapacity:
    """The host's free memory and disk, as the state machine sets them."""

    memory_mb = PLENTY_MB

    def __call__(self):
        return Capacity(self.memory_mb, PLENTY_MB)


class FakeCleaner:
    """What cleaning leaves, as the state machine sets it."""

    is_stuck = False

    def __call__(self, config, slot):
        return ["something is left"] if self.is_stuck else []


@pytest.fixture
def machine(db, monkeypatch, settings):
    """The state machine's class, with this test's own clock, capacity and cleaning."""
    capacity, cleaner = FakeCapacity(), FakeCleaner()
    monkeypatch.setattr("runs.leasing.grants.read_free_capacity", capacity)
    monkeypatch.setattr(cleanup, "clean_slot", cleaner)
    monkeypatch.setattr(cleanup, "CLEAN_SECONDS", 0)
    for module in (reservations, reaper):
        once = partial(cleanup.clean_and_finish, seconds=0)
        monkeypatch.setattr(module, "clean_and_finish", once)
    skew = ShiftedClock()
    monkeypatch.setattr(time, "time", skew.shifted_time)
    monkeypatch.setattr(timezone, "now", skew.shifted_now)
    fields = {"config": settings.OROBOROS, "capacity": capacity, "cleaner": cleaner, "skew": skew}
    return type("Pool", (Pool,), fields)


def run_machine(machine, examples=EXAMPLES, phases=tuple(Phase)):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=phases,
            derandomize=phases == SEARCH,
            database=None,
        ),
    )


def test_no_sequence_grants_a_slot_twice_or_out_of_order(machine):
    run_machine(machine)


@pytest.mark.full
def test_no_sequence_grants_a_slot_twice_or_out_of_order_in_500_examples(machine):
    run_machine(machine, examples=500)


# -- a seeded bug must be found


def test_seeded_grant_out_of_order_is_found(machine, monkeypatch):
    seeded = grants.GRANT_SLOTS.replace(
        "ORDER BY priority DESC, requested_at, id",
        "ORDER BY priority DESC, requested_at DESC, id DESC",
    )
    monkeypatch.setattr(grants, "GRANT_SLOTS", seeded)
    monkeypatch.setattr(reservations, "GRANT_SLOTS", seeded)
    monkeypatch.setattr(leases, "GRANT_SLOTS", seeded)
    with pytest.raises(AssertionError, match="which came first"):
        run_machine(machine, examples=200, phases=SEARCH)


def test_seeded_fence_that_does_not_grow_is_found(machine, monkeypatch):
    seeded = grants.GRANT_SLOTS.replace("slot.fence + 1 AS fence", "1000 - slot.fence AS fence")
    for module in (grants, reservations, leases):
        monkeypatch.setattr(module, "GRANT_SLOTS", seeded)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE slots_lease DROP CONSTRAINT slots_no_fence_twice")
    with pytest.raises(AssertionError, match="fence"):
        run_machine(machine, examples=200, phases=SEARCH)


def test_seeded_grant_of_a_slot_before_it_is_clean_is_found(machine, monkeypatch):
    seeded = grants.GRANT_SLOTS.replace("other.state IN ('held', 'ending')", "other.state = 'held'")
    for module in (grants, reservations, leases):
        monkeypatch.setattr(module, "GRANT_SLOTS", seeded)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX slots_one_lease_on_a_slot")
    with pytest.raises(AssertionError, match="began before"):
        run_machine(machine, examples=200, phases=SEARCH)
