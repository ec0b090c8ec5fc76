"""Claims: exclusive, renewed while the work lasts, lost at their end, and fenced."""

import os
import subprocess
import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from core import claims
from core.clock import get_database_time
from host.deadline import wait_until
from host.process import shutdown
from runs.models import Run
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    return RunFactory()


def claim_run(run):
    return Run.objects.claim(run.pk, claims.make_owner_name())


def expire_claim(run):
    Run.objects.filter(pk=run.pk).update(claim_expires_at=timezone.now())


def read_row(run):
    return Run.objects.filter(pk=run.pk).values().get()


def read_backend():
    """Return the pid of the server's process of this thread's connection."""
    with connection.cursor() as cursor:
        return cursor.execute("SELECT pg_backend_pid()").fetchone()[0]


def end_backend(pid):
    """End that process, as a restart of the server does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 60000)", [pid])
    connection.close()


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock of the claims; `clock.now` is what it shows."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_row_is_claimed_once_and_the_attempt_is_counted(run):
    claim = claim_run(run)
    assert claim_run(run) is None
    run.refresh_from_db()
    assert (run.claim_owner, run.claim_fence, run.attempts) == (claim.owner, claim.fence, 1)
    assert run.is_claimed(timezone.now())


def test_claims_of_an_ended_process_end_and_those_of_others_stay(run):
    claim, other, session = claim_run(run), RunFactory(), os.getsid(0)
    Run.objects.claim(other.pk, f"{claims.make_owner_prefix(session)}{os.getpid() + 1}:x")
    assert Run.objects.all().expire_claims_of(session, []) == 0
    assert Run.objects.all().expire_claims_of(session + 1, [os.getpid()]) == 0
    assert Run.objects.all().expire_claims_of(session, [os.getpid()]) == 1
    assert not Run.objects.renew(claim)
    assert claim_run(run) is not None
    assert claim_run(other) is None


def test_claims_of_an_ended_session_end_and_those_of_others_stay(run):
    session, other = os.getsid(0), RunFactory()
    Run.objects.claim(run.pk, f"{claims.make_owner_prefix(session)}{os.getpid() + 1}:x")
    Run.objects.claim(other.pk, f"{claims.make_owner_prefix(session + 1)}{os.getpid()}:x")
    assert Run.objects.all().expire_claims_of(session) == 1
    assert claim_run(run) is not None
    assert claim_run(other) is None


def find_dead_pid():
    """Return the pid of a process that has ended; Linux counts on before it uses one again."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_the_claim_of_a_process_that_does_not_exist_ends(run):
    Run.objects.claim(run.pk, f"{claims.make_owner_prefix(1)}{find_dead_pid()}:x")
    assert Run.objects.all().expire_claims_of_dead_processes() == 1
    assert read_row(run)["attempts"] == 1
    assert claim_run(run) is not None


def test_the_name_of_an_owners_host_may_have_a_colon():
    assert claims.has_process(f"a:1:b:boot.1:7:{os.getpid()}:x")
    assert not claims.has_process(f"a:1:b:boot.1:7:{find_dead_pid()}:x")


def test_claims_of_processes_that_exist_or_of_another_boot_or_host_stay(run):
    claim, dead = claim_run(run), find_dead_pid()
    host, boot, _ = claims.make_owner_prefix(1).split(":", 2)
    owners = [
        f"{claims.make_owner_prefix(1)}1:x",  # init, which is another user's
        f"{host}:0{boot[1:]}-:1:{dead}:x",
        f"{host}2:{boot}:1:{dead}:x",
        f"{host}:1:{dead}:x",  # as an earlier version named them
    ]
    others = [RunFactory() for _ in owners]
    for other, owner in zip(others, owners, strict=True):
        assert Run.objects.claim(other.pk, owner)
    assert Run.objects.all().expire_claims_of_dead_processes() == 0
    assert Run.objects.renew(claim)
    assert [claim_run(other) for other in others] == [None] * len(others)


def test_the_longest_owner_name_fits_its_column(monkeypatch):
    claims.make_host_prefix.cache_clear()
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 64)
    longest = f"{claims.make_owner_prefix(1 << 22)}{1 << 22}:{'x' * 8}"
    claims.make_host_prefix.cache_clear()
    assert len(longest) <= Run._meta.get_field("claim_owner").max_length


def test_a_claim_and_its_end_change_one_row(run):
    other, owner = RunFactory(), claims.make_owner_name()
    first, second = (Run.objects.claim(one.pk, owner) for one in (run, other))
    assert (first.pk, first.fence, second.pk, second.fence) == (run.pk, 1, other.pk, 1)
    assert [one.pk for one in Run.objects.with_valid_claim(first)] == [run.pk]
    before = read_row(other)
    assert Run.objects.renew(first)
    Run.objects.release_claim(first)
    assert read_row(other) == before
    assert (read_row(run)["claim_owner"], read_row(run)["claim_expires_at"]) == ("", None)


def test_only_valid_claims_of_an_ended_process_end(run):
    claim_run(run)
    assert Run.objects.all().expire_claims_of(os.getsid(0), [os.getpid()]) == 1
    ended = read_row(run)
    assert ended["claim_expires_at"] <= get_database_time()
    assert Run.objects.all().expire_claims_of(os.getsid(0), [os.getpid(), os.getpid() + 1]) == 0
    assert read_row(run) == ended


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_a_claim_that_a_shutdown_ended_counts_as_no_attempt(run, before, after):
    claim_run(run)
    Run.objects.filter(pk=run.pk).update(attempts=before)
    assert Run.objects.all().expire_claims_of(os.getsid(0), [os.getpid()], is_shutdown=True) == 1
    assert read_row(run)["attempts"] == after
    assert claim_run(run) is not None


def test_a_claim_is_lost_to_a_process_whose_worker_ends(run, monkeypatch):
    monkeypatch.setattr(shutdown, "_state", bytearray(2))
    claim = claim_run(run)
    assert not claim.is_lost
    shutdown.begin()
    assert claim.is_lost


def test_an_expired_claim_is_replaced_by_one_with_a_higher_fence(run):
    old = claim_run(run)
    expire_claim(run)
    new = claim_run(run)
    assert new.fence == old.fence + 1
    assert not Run.objects.with_valid_claim(old).exists()
    assert Run.objects.with_valid_claim(new).exists()


def test_a_lost_claim_is_not_renewed(run):
    claim = claim_run(run)
    assert Run.objects.renew(claim)
    expire_claim(run)
    assert not Run.objects.renew(claim)


def test_a_released_claim_can_be_taken_at_once(run):
    Run.objects.release_claim(claim_run(run))
    assert claim_run(run) is not None


@pytest.mark.parametrize("change", ["owner", "fence", "claim"])
def test_a_process_that_lost_its_claim_neither_renews_nor_ends_that_of_a_rival(run, change):
    loser = claim_run(run)
    if change == "claim":
        expire_claim(run)
        assert claim_run(run) is not None
    else:
        value = {"owner": "a rival", "fence": loser.fence + 1}[change]
        Run.objects.filter(pk=run.pk).update(**{f"claim_{change}": value})
    before = read_row(run)
    assert not Run.objects.with_valid_claim(loser).exists()
    assert not Run.objects.renew(loser)
    Run.objects.release_claim(loser)
    assert read_row(run) == before


def test_an_expired_claim_that_no_process_took_writes_nothing(run):
    claim = claim_run(run)
    expire_claim(run)
    before = read_row(run)
    assert not Run.objects.with_valid_claim(claim).exists()
    Run.objects.release_claim(claim)
    assert read_row(run) == before


@pytest.mark.parametrize("is_renewed", [False, True])
@pytest.mark.parametrize(("seconds", "is_lost"), [(19.9, False), (20.0, False), (20.1, True)])
def test_a_claim_is_lost_20_seconds_after_its_last_renewal(
    run, clock, is_renewed, seconds, is_lost
):
    claim = claim_run(run)
    if is_renewed:
        clock.now += 15.0
        assert Run.objects.renew(claim)
    clock.now += seconds
    assert claim.is_lost is is_lost


def test_a_renewal_that_fails_does_not_extend_the_claim(run, clock):
    claim = claim_run(run)
    expire_claim(run)
    clock.now += 15.0
    assert not Run.objects.renew(claim)
    clock.now += 5.1
    assert claim.is_lost


def test_a_claim_and_its_renewal_last_30_seconds(run):
    claim = claim_run(run)
    for _ in range(2):
        left = read_row(run)["claim_expires_at"] - get_database_time()
        assert timedelta(seconds=10) < left <= timedelta(seconds=30)
        Run.objects.filter(pk=run.pk).update(
            claim_expires_at=get_database_time() + timedelta(seconds=5)
        )
        assert Run.objects.renew(claim)


@pytest.mark.parametrize(("milliseconds", "is_claimed"), [(-1, True), (0, False), (1, False)])
def test_a_claim_holds_until_its_end_and_no_longer(run, milliseconds, is_claimed):
    claim_run(run)
    run.refresh_from_db()
    at = run.claim_expires_at + timedelta(milliseconds=milliseconds)
    assert run.is_claimed(at) is is_claimed


def test_no_two_owner_names_are_equal():
    assert claims.make_owner_name() != claims.make_owner_name()


@pytest.mark.django_db(transaction=True)
class TestRenewal:
    @pytest.fixture(autouse=True)
    def fast_renewal(self, monkeypatch):
        monkeypatch.setattr(claims, "RENEW_SECONDS", 0.01)

    def test_the_claim_is_renewed_and_released_at_the_end(self, run):
        claim = claim_run(run)
        first = Run.objects.get(pk=run.pk).claim_expires_at
        with claims.renew_while_running(Run.objects.all(), claim):
            assert wait_until(
                lambda: Run.objects.get(pk=run.pk).claim_expires_at > first, seconds=60
            )
        assert Run.objects.get(pk=run.pk).claim_expires_at is None

    def test_a_claim_that_was_taken_over_is_marked_lost(self, run):
        claim = claim_run(run)
        with claims.renew_while_running(Run.objects.all(), claim):
            Run.objects.filter(pk=run.pk).update(claim_owner="another")
            assert claim.lost.wait(60)
        assert Run.objects.get(pk=run.pk).claim_owner == "another"

    def test_a_requested_stop_is_passed_on(self, run):
        claim, requested = claim_run(run), threading.Event()
        with claims.renew_while_running(Run.objects.all(), claim, requested.is_set):
            assert not claim.stop_requested.is_set()
            requested.set()
            assert claim.stop_requested.wait(60)

    def test_the_claim_is_renewed_on_a_new_connection_after_one_was_ended(self, run):
        claim, backends = claim_run(run), []

        def note_backend():
            backends.append(read_backend())
            return False

        with claims.renew_while_running(Run.objects.all(), claim, note_backend):
            assert wait_until(lambda: backends, seconds=60)
            end_backend(backends[0])
            assert wait_until(lambda: backends[-1] != backends[0] or claim.is_lost, seconds=60), (
                "no renewal succeeded again"
            )
        assert not claim.is_lost

    def test_the_claim_is_released_although_the_works_connection_was_ended(self, run):
        claim = claim_run(run)
        with (
            pytest.raises(OperationalError),
            claims.renew_while_running(Run.objects.all(), claim),
        ):
            thread = threading.Thread(target=end_backend, args=[read_backend()])
            thread.start()
            thread.join()
            read_row(run)
        assert read_row(run)["claim_expires_at"] is None

    @pytest.mark.parametrize("end", ["done", "lost"])
    def test_the_thread_that_renewed_closes_its_connection(self, run, end):
        claim, done = claim_run(run), threading.Event()
        if end == "lost":
            expire_claim(run)

        def end_work():
            done.set()
            return False

        claims._renew_until_done(Run.objects.all(), claim, end_work, done)
        assert claim.lost.is_set() is (end == "lost")
        assert connection.connection is None

    def test_the_claim_is_released_after_its_renewing_thread_has_ended(self, run):
        claim, renews, is_over, seen = claim_run(run), threading.Event(), threading.Event(), []

        def watch_the_end():
            renews.set()
            assert is_over.wait(60)
            is_released = lambda: read_row(run)["claim_expires_at"] is None  # noqa: E731
            seen.append(wait_until(is_released, seconds=0.3))
            return False

        with claims.renew_while_running(Run.objects.all(), claim, watch_the_end):
            assert renews.wait(60)
            is_over.set()
        assert seen and not any(seen)
        assert read_row(run)["claim_expires_at"] is None
