"""Holders, waiters, reapers and operators in any order, against PostgreSQL; the history is judged.

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

from core.clock import database_time
from host.errors import Refused
from runs.leasing import cleanup, grants, leases, maintenance, reaper, reservations
from runs.models import Run
from runs.rules import FINAL, Status
from slots.models import Lease, Slot
from slots.rules import ON_SLOT, LeaseState, Room
from tests.factories import RunFactory
from tests.slots import history

# A seeded bug is only to be found, not made small.
SEARCH = (Phase.generate,)
SLOTS = 2
PLENTY = 10**6
EXAMPLES = int(os.environ.get("OROBOROS_EXAMPLES", "25"))
REFUSED_IS_FINE = {
    "lease_fenced",
    "not_holder",
    "run_ended",
    "run_is_shipping",
    "reason_required",
    "not_clean",
}


class Pool(RuleBasedStateMachine):
    """Two slots. A held fence is what its holder remembers, however long it sleeps."""

    runs = Bundle("runs")
    holders = Bundle("holders")

    def __init__(self):
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.rooms.memory_mb = PLENTY
        self.cleaner.is_stuck = False
        self.skew.hours = 0
        for slot in self.config.slots[:SLOTS]:
            Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host="local")

    def teardown(self):
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def of(self, slot_id):
        return Slot.objects.get(slot_id=slot_id)

    def tried(self, act):
        """Do it; a refusal must be one that contention explains, and change nothing."""
        grants.grant()  # what the line does whoever comes: the silent leave it, the next is granted
        before = list(Lease.objects.order_by("id").values())
        try:
            return act()
        except Refused as refused:
            assert refused.code in REFUSED_IS_FINE, refused.code
            if refused.code in ("lease_fenced", "not_holder"):
                assert list(Lease.objects.order_by("id").values()) == before
            return None

    # -- what runs do

    @initialize(target=runs, kinds=st.lists(st.booleans(), min_size=4, max_size=6))
    def come_all_at_once(self, kinds):
        """More than there are slots, so that there is a line from the start."""
        made = [self.make(0, prepare) for prepare in kinds]
        for run in made:
            self.asks(run, 60)
        return multiple(*made)

    @rule(target=runs, priority=st.integers(0, 2), prepare=st.booleans())
    def comes(self, priority, prepare):
        return self.make(priority, prepare)

    def make(self, priority, prepare):
        run = RunFactory(priority=priority, prepare=prepare)
        if prepare:
            leases.ask(run, actor="alice")
        return run.pk

    @rule(target=holders, run=runs, ttl=st.integers(1, 100))
    def acquire(self, run, ttl):
        return self.asks(run, ttl)

    def asks(self, run, ttl):
        answer = self.tried(
            lambda: reservations.acquire(run, actor="alice", owner=None, ttl_seconds=ttl)
        )
        if answer is None or answer.slot_id is None:
            return (run, "preview-1", 0)
        return (run, answer.slot_id, answer.fence)

    @rule(holder=holders, knows=st.booleans())
    def heartbeat(self, holder, knows):
        run, slot_id, fence = holder
        slot = self.config.slot(slot_id)
        self.tried(
            lambda: reservations.heartbeat(
                slot, run, fence=fence or 1 if knows else None, owner=None
            )
        )

    @rule(holder=holders, knows=st.booleans(), force=st.booleans())
    def release(self, holder, knows, force):
        self.lets_go(*holder, knows=knows, force=force)

    def lets_go(self, run, slot_id, fence, *, knows, force=False):
        self.tried(
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
    def who_came_first_lets_go(self):
        lease = Lease.objects.filter(state=LeaseState.HELD).select_related("slot").first()
        self.lets_go(lease.run_id, lease.slot.slot_id, lease.fence, knows=True)

    @rule(run=runs)
    def becomes_ready(self, run):
        Run.objects.filter(pk=run, status=Status.PREPARING).update(status=Status.PREVIEW_READY)

    @rule(run=runs)
    def approve(self, run):
        found = Run.objects.get(pk=run)
        if found.status == Status.PREVIEW_READY:
            self.tried(lambda: leases.pin(found))
            if Lease.objects.filter(run=run, is_pinned=True).exists():
                Run.objects.filter(pk=run).update(status=Status.APPROVED)

    @rule(run=runs)
    def cancel(self, run):
        found = Run.objects.get(pk=run)
        if found.status not in (*FINAL, Status.DEPLOYING):
            lease = leases.begin_ending(found, reason="", to=Status.CANCELED, actor="bob")
            leases.clean_and_finish(self.config, lease, deadline=0)

    @rule(run=runs)
    def somebody_works_on_it(self, run):
        """A worker claims what there is work for: nobody works on a reservation, or in the line."""
        idle = (Status.QUEUED, Status.HOLDING, *FINAL)
        Run.objects.exclude(status__in=idle).claim(run, f"worker {uuid.uuid4()}")

    @rule(run=runs)
    def the_worker_dies(self, run):
        """Its claim runs out; what it was asked to do, the next one does."""
        past = database_time() - timedelta(seconds=1)
        Run.objects.filter(pk=run, claim_expires_at__gt=past).update(claim_expires_at=past)
        found = Run.objects.get(pk=run)
        if found.stop_status and found.status not in FINAL:
            lease = leases.begin_ending(
                found, reason="", to=Status(found.stop_status), actor="worker"
            )
            leases.clean_and_finish(self.config, lease, deadline=0)

    # -- time and operators

    @rule(run=runs)
    def sleeps_past_its_end(self, run):
        """The owner is stopped, or the clock jumps, beyond the lease's time."""
        past = database_time() - timedelta(seconds=1)
        Lease.objects.filter(run=run, state=LeaseState.HELD).update(expires_at=past)

    @rule(run=runs)
    def is_silent_in_the_line(self, run):
        past = database_time() - timedelta(seconds=1)
        Lease.objects.filter(run=run, waits_until__isnull=False).update(waits_until=past)

    @rule(hours=st.sampled_from([-1, 0, 1]))
    def the_applications_clock_jumps(self, hours):
        """What Python says the time is has no part in any decision."""
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
        elif not Lease.objects.filter(slot=found, state__in=ON_SLOT).exists():
            self.tried(lambda: cleanup.take_back(self.config, found, actor="bob"))

    @rule(stuck=st.booleans())
    def cleaning_sticks(self, stuck):
        """What a run left cannot be taken away for a while; in the end its slot is quarantined."""
        self.cleaner.is_stuck = stuck

    @rule(full=st.booleans())
    def the_host_fills_up(self, full):
        self.rooms.memory_mb = 0 if full else PLENTY

    @precondition(lambda self: Lease.objects.filter(state=LeaseState.ENDING).exists())
    @rule()
    def the_worker_finishes_cleaning(self):
        for lease in Lease.objects.filter(state=LeaseState.ENDING).select_related("run", "slot"):
            if lease.run.status in (*FINAL, Status.DEPLOYING):
                leases.clean_and_finish(self.config, lease, deadline=0)

    # -- what must always be so

    @invariant()
    def the_history_is_sound(self):
        assert history.faults(history.recorded()) == []

    @invariant()
    def a_lease_and_its_run_say_the_same(self):
        held = Lease.objects.filter(state=LeaseState.HELD).select_related("run")
        for lease in held:
            assert lease.run.status not in (Status.QUEUED, *FINAL)
        for lease in Lease.objects.filter(state=LeaseState.WAITING).select_related("run"):
            assert lease.run.status == Status.QUEUED
        unheld = Run.objects.filter(status=Status.HOLDING).exclude(leases__state=LeaseState.HELD)
        assert not unheld.exists()

    @invariant()
    def no_slot_that_could_be_granted_is_kept_from_who_waits(self):
        """After a moment of peace: the grant is all that is missing, and it leaves none."""
        if self.rooms.memory_mb == 0:
            return
        grants.grant()
        free = Slot.objects.filter(drained_at=None, quarantined_at=None).exclude(
            leases__state__in=ON_SLOT
        )
        waiting = Lease.objects.filter(state=LeaseState.WAITING)
        assert not (free.exists() and waiting.exists())

    @invariant()
    def a_fence_is_its_slots_newest(self):
        stale = Lease.objects.filter(state=LeaseState.HELD).exclude(fence=F("slot__fence"))
        assert not stale.exists()


class Skew:
    """Python's clock, hours off."""

    hours = 0

    def __init__(self):
        self.time, self.now = time.time, timezone.now

    def shifted_time(self):
        return self.time() + self.hours * 3600

    def shifted_now(self):
        return self.now() + timedelta(hours=self.hours)


class Rooms:
    """What the host has free, as the machine sets it."""

    memory_mb = PLENTY

    def __call__(self):
        return Room(self.memory_mb, PLENTY)


class Cleaner:
    """What cleaning leaves, as the machine sets it."""

    is_stuck = False

    def __call__(self, config, slot):
        return ["something is left"] if self.is_stuck else []


@pytest.fixture
def machine(db, monkeypatch, settings):
    """The state machine's class, in surroundings of this test's own."""
    rooms, cleaner = Rooms(), Cleaner()
    monkeypatch.setattr("runs.leasing.grants.room", rooms)
    monkeypatch.setattr(cleanup, "clean", cleaner)
    monkeypatch.setattr(cleanup, "CLEAN_SECONDS", 0)
    for module in (reservations, reaper):
        once = partial(cleanup.clean_and_finish, deadline=0)
        monkeypatch.setattr(module, "clean_and_finish", once)
    skew = Skew()
    monkeypatch.setattr(time, "time", skew.shifted_time)
    monkeypatch.setattr(timezone, "now", skew.shifted_now)
    fields = {"config": settings.OROBOROS, "rooms": rooms, "cleaner": cleaner, "skew": skew}
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


def test_no_order_of_moves_gives_a_slot_twice_or_passes_a_waiter(machine):
    run_machine(machine)


@pytest.mark.full
def test_no_order_of_moves_gives_a_slot_twice_or_passes_a_waiter_in_many_tries(machine):
    run_machine(machine, examples=500)


# -- a seeded bug must be found


def test_the_machine_finds_a_grant_that_passes_who_came_first(machine, monkeypatch):
    seeded = grants.GRANT.replace(
        "ORDER BY priority DESC, asked_at, id", "ORDER BY priority DESC, asked_at DESC, id DESC"
    )
    monkeypatch.setattr(grants, "GRANT", seeded)
    monkeypatch.setattr(reservations, "GRANT", seeded)
    monkeypatch.setattr(leases, "GRANT", seeded)
    with pytest.raises(AssertionError, match="which came first"):
        run_machine(machine, examples=200, phases=SEARCH)


def test_the_machine_finds_a_fence_that_does_not_grow(machine, monkeypatch):
    seeded = grants.GRANT.replace("slot.fence + 1 AS fence", "1000 - slot.fence AS fence")
    for module in (grants, reservations, leases):
        monkeypatch.setattr(module, "GRANT", seeded)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE slots_lease DROP CONSTRAINT slots_no_fence_twice")
    with pytest.raises(AssertionError, match="fence"):
        run_machine(machine, examples=200, phases=SEARCH)


def test_the_machine_finds_a_slot_that_is_handed_on_before_it_is_clean(machine, monkeypatch):
    seeded = grants.GRANT.replace("other.state IN ('held', 'ending')", "other.state = 'held'")
    for module in (grants, reservations, leases):
        monkeypatch.setattr(module, "GRANT", seeded)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX slots_one_lease_on_a_slot")
    with pytest.raises(AssertionError, match="began before"):
        run_machine(machine, examples=200, phases=SEARCH)
