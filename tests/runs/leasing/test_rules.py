"""Who may write for a lease, and what a release does: a row of the table for each case."""

from dataclasses import replace

import pytest

from host.errors import Refused
from runs.leasing import rules
from runs.leasing.rules import ReleaseEffect, RunLease
from runs.rules import SHIPPING, Status
from slots.rules import LeaseState

CANCEL, STOP = ReleaseEffect.CANCEL_RUN, ReleaseEffect.REQUEST_STOP
HELD = RunLease(
    run_status=Status.PREVIEW_READY,
    created_by="alice",
    is_claimed=False,
    lease_id=1,
    state=LeaseState.HELD,
    fence=7,
    end_reason="",
)
NEVER = replace(HELD, lease_id=None, state=None, fence=None)


def decide(lease, fence=None, *, force=False):
    """Return the effect of a release, or the code of its refusal."""
    try:
        return rules.decide_release(lease, fence, force=force)
    except Refused as refused:
        return refused.code


@pytest.mark.parametrize("status", [s for s in Status if s not in SHIPPING])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(("is_claimed", "effect"), [(False, CANCEL), (True, STOP)])
def test_release_before_shipping_leaves_a_claimed_run_to_its_worker(
    status, force, is_claimed, effect
):
    lease = replace(HELD, run_status=status, is_claimed=is_claimed)
    assert decide(lease, force=force) is effect


@pytest.mark.parametrize("status", SHIPPING)
@pytest.mark.parametrize("is_claimed", [False, True])
def test_release_of_a_run_that_ships_is_refused_without_force(status, is_claimed):
    assert decide(replace(HELD, run_status=status, is_claimed=is_claimed)) == "run_is_shipping"


@pytest.mark.parametrize(
    ("status", "is_claimed", "effect"),
    [
        (Status.APPROVED, False, CANCEL),
        # A worker may move it to MERGING at any moment.
        (Status.APPROVED, True, STOP),
        (Status.MERGING, False, STOP),
        (Status.MERGING, True, STOP),
        (Status.DEPLOYING, False, ReleaseEffect.END_LEASE),
        (Status.DEPLOYING, True, ReleaseEffect.END_LEASE),
    ],
)
def test_forced_release_of_a_run_that_ships(status, is_claimed, effect):
    assert decide(replace(HELD, run_status=status, is_claimed=is_claimed), force=True) is effect


@pytest.mark.parametrize("state", [LeaseState.ENDING, LeaseState.ENDED])
@pytest.mark.parametrize(
    ("fence", "effect"),
    [
        (None, ReleaseEffect.ALREADY_RELEASED),
        (6, "lease_fenced"),
        (7, ReleaseEffect.ALREADY_RELEASED),
        (8, "lease_fenced"),
    ],
)
def test_repeated_release_is_recognized_by_its_fence(state, fence, effect):
    lease = replace(HELD, state=state, end_reason=rules.RELEASED)
    assert decide(lease, fence) == effect


@pytest.mark.parametrize("status", [Status.PREVIEW_READY, *SHIPPING])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("fence", [6, 8])
def test_release_with_another_fence_is_fenced_whatever_it_would_do(status, force, fence):
    assert decide(replace(HELD, run_status=status), fence, force=force) == "lease_fenced"


@pytest.mark.parametrize("fence", [None, 7])
def test_release_after_the_lease_expired_is_fenced(fence):
    lease = replace(HELD, state=LeaseState.ENDED, end_reason=rules.PREVIEW_EXPIRED)
    assert decide(lease, fence) == "lease_fenced"


@pytest.mark.parametrize(
    ("lease", "fence", "code"),
    [
        (HELD, None, None),
        (HELD, 6, "lease_fenced"),
        (HELD, 7, None),
        (HELD, 8, "lease_fenced"),
        (NEVER, None, "not_holder"),
        (NEVER, 7, "not_holder"),
        (replace(HELD, state=LeaseState.WAITING), None, "lease_fenced"),
        (replace(HELD, state=LeaseState.ENDING), 7, "lease_fenced"),
        (replace(HELD, state=LeaseState.ENDED), 7, "lease_fenced"),
    ],
)
def test_only_the_holder_with_its_fence_may_write(lease, fence, code):
    if code is None:
        rules.check_holder(lease, fence)
        return
    with pytest.raises(Refused) as refused:
        rules.check_holder(lease, fence)
    assert refused.value.code == code
    assert refused.value.detail.endswith(".")


@pytest.mark.parametrize(
    ("force", "reason", "is_refused"),
    [(False, "", False), (True, "", True), (True, " ", True), (True, "a fire", False)],
)
def test_force_needs_a_reason(force, reason, is_refused):
    if not is_refused:
        rules.check_force(force=force, reason=reason)
        return
    with pytest.raises(Refused) as refused:
        rules.check_force(force=force, reason=reason)
    assert (refused.value.code, refused.value.status) == ("reason_required", 400)
    assert refused.value.detail == "Say why the release is forced."


@pytest.mark.parametrize(
    ("lease", "fence", "status", "detail"),
    [
        (NEVER, None, 409, "The run does not hold this slot."),
        (
            replace(HELD, state=LeaseState.ENDED, end_reason=rules.PREVIEW_EXPIRED),
            None,
            409,
            "The lease is over; nothing was changed. Ask for a slot again.",
        ),
        (HELD, 8, 409, "The lease's fence is 7 now; nothing was changed."),
        (
            replace(HELD, run_status=Status.MERGING),
            7,
            409,
            "The run ships; its slot is released when it is merged, or by force with a reason.",
        ),
    ],
)
def test_a_refused_release_says_why(lease, fence, status, detail):
    with pytest.raises(Refused) as refused:
        rules.decide_release(lease, fence, force=False)
    assert (refused.value.status, refused.value.detail) == (status, detail)


@pytest.mark.parametrize(
    ("owner", "is_refused"), [("alice", False), (None, False), ("bob", True), ("", True)]
)
def test_only_the_runs_creator_and_an_operator_use_its_lease(owner, is_refused):
    if not is_refused:
        rules.check_owner("alice", owner)
        return
    with pytest.raises(Refused) as refused:
        rules.check_owner("alice", owner)
    assert (refused.value.code, refused.value.status) == ("lease_not_yours", 403)
    assert refused.value.detail.startswith("Another user created this run")
