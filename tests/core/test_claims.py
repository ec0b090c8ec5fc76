"""Claims: exclusive, renewed while the work lasts, lost at their end, and fenced."""

import os
import threading

import pytest
from django.utils import timezone

from core import claims
from host.deadline import wait_until
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


def test_a_row_is_claimed_once_and_the_attempt_is_counted(run):
    claim = claim_run(run)
    assert claim_run(run) is None
    run.refresh_from_db()
    assert (run.claim_owner, run.claim_fence, run.attempts) == (claim.owner, claim.fence, 1)
    assert run.is_claimed(timezone.now())


def test_claims_of_an_ended_process_end_and_those_of_others_stay(run):
    claim, other = claim_run(run), RunFactory()
    Run.objects.claim(other.pk, claims.make_owner_prefix(os.getpid() + 1) + "x")
    assert Run.objects.all().expire_claims_of([]) == 0
    assert Run.objects.all().expire_claims_of([os.getpid()]) == 1
    assert not Run.objects.renew(claim)
    assert claim_run(run) is not None
    assert claim_run(other) is None


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


def test_a_claim_that_was_not_renewed_for_20_seconds_is_lost(run):
    claim = claim_run(run)
    assert not claim.is_lost
    claim.valid_until -= claims.LOST_AFTER_SECONDS
    assert claim.is_lost


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
                lambda: Run.objects.get(pk=run.pk).claim_expires_at > first, seconds=5
            )
        assert Run.objects.get(pk=run.pk).claim_expires_at is None

    def test_a_claim_that_was_taken_over_is_marked_lost(self, run):
        claim = claim_run(run)
        with claims.renew_while_running(Run.objects.all(), claim):
            Run.objects.filter(pk=run.pk).update(claim_owner="another")
            assert claim.lost.wait(5)
        assert Run.objects.get(pk=run.pk).claim_owner == "another"

    def test_a_requested_stop_is_passed_on(self, run):
        claim, requested = claim_run(run), threading.Event()
        with claims.renew_while_running(Run.objects.all(), claim, requested.is_set):
            assert not claim.stop_requested.is_set()
            requested.set()
            assert claim.stop_requested.wait(5)
