"""The reaper: expired leases are fenced once, and no others."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from host.errors import Refused
from runs.leasing import leases, reaper, reservations
from runs.models import Event, Run
from runs.rules import Status
from slots.models import Lease, Slot
from slots.rules import LeaseState
from tests.factories import RunFactory
from tests.runs.conftest import together


def asked(**fields):
    run = RunFactory(**fields)
    leases.request_slot(run, actor="alice")
    return run


def run_out(*runs):
    past = timezone.now() - timedelta(seconds=1)
    Lease.objects.filter(run__in=runs).update(expires_at=past)


def look(run):
    return Run.objects.get(pk=run.pk)


@pytest.mark.parametrize("status", [Status.PREPARING, Status.PREVIEW_READY])
def test_expired_preview_ends_with_its_code_is_cleaned_and_the_next_run_starts(
    slot, cleaner, status
):
    run, after = asked(), asked()
    Run.objects.filter(pk=run.pk).update(status=status)
    run_out(run)
    assert reaper.reap_expired().slot_ids == ["preview-1"]
    run = look(run)
    assert (run.status, run.failure_code) == (Status.EXPIRED, "PREVIEW_EXPIRED")
    assert run.next_action.startswith("Retry the run")
    assert cleaner.seen == ["preview-1"]
    assert look(after).status == Status.PREPARING
    fences = Lease.objects.order_by("fence").values_list("fence", flat=True)
    assert list(fences) == [1, 2]


def test_an_expired_reservation_expires_its_run(slot, cleaner):
    run, after = asked(prepare=False), asked(prepare=False)
    run_out(run)
    reaper.reap_expired()
    assert look(run).status == Status.EXPIRED
    assert cleaner.seen == []
    assert look(after).status == Status.HOLDING


def test_claimed_run_is_fenced_and_asked_to_stop(slot, cleaner):
    run, after = asked(), asked()
    claim = Run.objects.claim(run.pk, "a worker")
    run_out(run)
    assert reaper.reap_expired().slot_ids == ["preview-1"]
    run = look(run)
    assert (run.status, run.stop_status, run.stop_code) == (
        Status.PREPARING,
        "expired",
        "PREVIEW_EXPIRED",
    )
    assert cleaner.seen == []
    assert look(after).status == Status.QUEUED
    assert reaper.reap_expired().slot_ids == []
    assert Run.objects.with_valid_claim(claim).exists()


@pytest.mark.parametrize("status", [Status.APPROVED, Status.MERGING, Status.DEPLOYING])
def test_lease_of_a_shipping_run_is_not_reaped(slot, cleaner, status):
    run = asked()
    Run.objects.filter(pk=run.pk).update(status=status)
    run_out(run)
    assert reaper.list_expired_leases() == []
    assert reaper.reap_expired().slot_ids == []
    assert Lease.objects.get(run=run).state == LeaseState.HELD


@pytest.mark.parametrize("status", [Status.APPROVED, Status.MERGING, Status.DEPLOYING])
def test_lease_of_a_run_that_began_to_ship_while_its_row_was_waited_for_is_not_reaped(
    slot, cleaner, monkeypatch, status
):
    run, list_expired = asked(), reaper.list_expired_leases
    run_out(run)

    def list_and_ship():
        expired = list_expired()
        assert [lease.run_id for lease in expired] == [run.pk]
        Run.objects.filter(pk=run.pk).update(status=status)
        return expired

    monkeypatch.setattr(reaper, "list_expired_leases", list_and_ship)
    assert reaper.reap_expired().slot_ids == []
    assert Lease.objects.get(run=run).state == LeaseState.HELD
    assert look(run).status == status


def test_a_pinned_lease_is_not_reaped(slot, cleaner):
    run = asked()
    leases.pin_lease(run)
    run_out(run)
    assert reaper.reap_expired().slot_ids == []


def test_second_reaper_finds_nothing_and_one_event_is_recorded(slot, cleaner):
    run = asked()
    run_out(run)
    reaper.reap_expired()
    assert reaper.reap_expired().slot_ids == []
    assert Event.objects.filter(run=run, kind="lease_ended").count() == 1


def test_reaper_removes_reservations_that_timed_out_from_the_queue(slot):
    asked(prepare=False)
    silent = asked(prepare=False)
    Lease.objects.filter(run=silent).update(waits_until=timezone.now() - timedelta(seconds=1))
    reaper.reap_expired()
    assert Lease.objects.get(run=silent).state == LeaseState.ENDED
    assert look(silent).status == Status.QUEUED


def test_command_with_dry_run_lists_what_it_then_reaps(slot, cleaner, capsys):
    run = asked()
    run_out(run)
    call_command("reap_expired", dry_run=True)
    assert look(run).status == Status.PREPARING
    call_command("reap_expired")
    assert capsys.readouterr().out.splitlines() == [
        "1 leases would be ended preview-1",
        "1 leases ended preview-1",
    ]
    assert look(run).status == Status.EXPIRED


@pytest.mark.django_db(transaction=True)
def test_concurrent_reapers_fence_each_lease_once(settings, cleaner):
    slot = Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)
    found = []
    for number in range(10):
        run = asked()
        run_out(run)
        for reaped in together(lambda _: reaper.reap_expired(), range(4)):
            found += reaped.slot_ids
        assert found == [slot.slot_id] * (number + 1)
        assert Event.objects.filter(run=run, kind="lease_ended").count() == 1


@pytest.fixture
def only_slot(transactional_db, settings):
    Slot.objects.create(slot_id="preview-1", number=1, host=settings.HOST_NAME)
    return settings.OROBOROS.slots[0]


def test_heartbeat_before_the_reaper_keeps_the_lease(only_slot, pair):
    run = asked(prepare=False)
    run_out(run)
    with transaction.atomic():
        # It had not run out when the holder looked; the reaper still sees that it had.
        Lease.objects.filter(run=run).update(expires_at=timezone.now() + timedelta(seconds=60))
        reservations.heartbeat(only_slot, run.pk, fence=None, owner=None)
        reaping = pair.submit(reaper.reap_expired)
        wait_for_who_waits()
    assert reaping.result(60).slot_ids == []
    assert Lease.objects.get(run=run).state == LeaseState.HELD


def test_heartbeat_during_a_reap_is_fenced(only_slot, pair):
    run, found = asked(prepare=False), {}
    before = Lease.objects.get(run=run).expires_at
    with transaction.atomic():
        run_out(run)
        assert reaper.reap_expired().slot_ids == ["preview-1"]
        Lease.objects.filter(run=run).update(expires_at=before)
        heartbeat = pair.submit(beat, only_slot, run, found)
        wait_for_who_waits()
    heartbeat.result(60)
    lease = Lease.objects.get(run=run)
    assert (found, lease.state, lease.expires_at) == (
        {"refused": "lease_fenced"},
        LeaseState.ENDED,
        before,
    )


def wait_for_who_waits(seconds=60):
    """Return once another connection waits for a row that this transaction has locked."""
    deadline = time.monotonic() + seconds
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.005)


@pytest.mark.parametrize("times", [50, pytest.param(1000, marks=pytest.mark.full)])
def test_one_of_a_concurrent_heartbeat_and_reaper_wins(only_slot, cleaner, pair, times):
    """The lease has just run out or is about to: who is second is told so."""
    ends, number = set(), 0
    # Where both take longer than these milliseconds, there are more rounds with more of them.
    while number < times or (len(ends) < 2 and number < times + 500):
        run = asked(prepare=False)
        longer = 2 ** (max(0, number - times) // 50)
        about = timezone.now() + timedelta(milliseconds=number % 7 * longer)
        Lease.objects.filter(run=run).update(expires_at=about)
        found = {}
        rivals = [
            pair.submit(beat, only_slot, run, found),
            pair.submit(lambda found: found.update(reaped=reaper.reap_expired().slot_ids), found),
        ]
        for rival in rivals:
            rival.result()
        lease = Lease.objects.get(run=run)
        if found["reaped"]:
            assert (found["refused"], lease.state) == ("lease_fenced", LeaseState.ENDED)
        elif "refused" in found:  # it ran out between the two: the next reaper's
            assert found["refused"] == "lease_fenced" and lease.expires_at <= timezone.now()
        else:
            assert lease.state == LeaseState.HELD and lease.expires_at > about
        ends.add(lease.state)
        number += 1
        leases.begin_ending(look(run), reason="over", actor="alice")
    assert ends == {LeaseState.HELD, LeaseState.ENDED}, "one of the two always won"


def beat(slot, run, found):
    try:
        reservations.heartbeat(slot, run.pk, fence=None, owner=None)
    except Refused as refused:
        found["refused"] = refused.code


@pytest.fixture
def pair():
    """Two threads that keep their connections."""
    with ThreadPoolExecutor(2) as threads:
        yield threads
        at_once = threading.Barrier(2)
        for _ in range(2):
            threads.submit(lambda: (at_once.wait(), connections.close_all()))
