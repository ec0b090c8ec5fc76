"""The moves of a run, the base of a candidate, and the codes of failures."""

import pytest

from host.errors import Refused
from runs import rules
from runs.rules import FAILURES, FAILURES_OF_REFUSALS, FINAL, MOVES, SHIPPING, Status


@pytest.mark.parametrize(
    ("ours", "theirs", "ours_in_theirs", "theirs_in_ours", "base"),
    [
        (None, None, False, False, None),
        ("a", None, False, False, "a"),
        (None, "b", False, False, "b"),
        ("a", "b", True, False, "b"),
        ("a", "b", False, True, "a"),
        ("a", "b", False, False, None),
        ("a", "a", True, True, "a"),
    ],
)
def test_candidate_is_based_on_the_side_that_contains_the_other(
    ours, theirs, ours_in_theirs, theirs_in_ours, base
):
    found = rules.choose_base(
        ours, theirs, ours_in_theirs=ours_in_theirs, theirs_in_ours=theirs_in_ours
    )
    assert found == base


@pytest.mark.parametrize(
    ("code", "failure"),
    [*FAILURES_OF_REFUSALS.items(), ("git_failed", "HOST_REFUSED"), ("", "HOST_REFUSED")],
)
def test_refusal_fails_a_step_with_a_known_code(code, failure):
    assert rules.failure_code_of(code) == failure
    assert failure in FAILURES


@pytest.mark.parametrize("reason", ["", " ", "\n\t"])
def test_empty_reason_is_refused(reason):
    with pytest.raises(Refused, match="Say why") as refused:
        rules.require_reason(reason, "Say why.")
    assert (refused.value.code, refused.value.status) == ("reason_required", 400)


def test_reason_with_a_letter_is_accepted():
    rules.require_reason(" x ", "Say why.")


def test_ended_run_moves_no_more_and_a_shipping_one_does_not_expire():
    assert set(FINAL) == {
        Status.MERGED, Status.REJECTED, Status.FAILED, Status.CANCELED, Status.EXPIRED
    }  # fmt: skip
    assert not [status for status in SHIPPING if Status.EXPIRED in MOVES[status]]
    # What is deployed is in the target branch already.
    assert MOVES[Status.DEPLOYING] == {Status.MERGED, Status.FAILED}
    assert [status for status in MOVES if Status.MERGED in MOVES[status]] == [Status.DEPLOYING]
