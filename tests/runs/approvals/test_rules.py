"""The one decision on approvals: how many, by whom, of what."""

import pytest

from host.errors import Refused
from runs.approvals.rules import (
    ApprovalState,
    Approver,
    OwnedPaths,
    Policy,
    Requirements,
    check_ticked,
)

ANN = Approver("ann", "ann", frozenset({"@ann", "ann@example.com"}))
ANNS_TOKEN = Approver("token ci", "ann", frozenset({"@ann", "ann@example.com"}))
BOB = Approver("bob", "bob", frozenset({"@bob", "@/backend"}))
HOST = Approver("host", "host")
BACKEND = OwnedPaths(frozenset({"@/backend", "@carol"}), ("a.py", "b.py"), 5)


def build_state(*given, **policy):
    known = Requirements(owned=(BACKEND,), makers=frozenset({"zoe", "ann@example.com"}))
    return ApprovalState(Policy(**policy), known, given)


@pytest.mark.parametrize(
    ("given", "policy", "is_complete", "text"),
    [
        ((), {}, False, "0 of 1 approval."),
        ((ANN,), {}, True, "1 of 1 approval."),
        ((ANN,), {"required_count": 2}, False, "1 of 2 approvals."),
        ((ANN, ANNS_TOKEN), {"required_count": 2}, False, "1 of 2 approvals."),
        ((ANN, BOB), {"required_count": 2}, True, "2 of 2 approvals."),
        (
            (ANN, HOST),
            {"required_count": 2, "needs_owners": True},
            False,
            "2 of 2 approvals. An owner must approve a.py, b.py and 3 more (@backend, @carol).",
        ),
        ((BOB,), {"needs_owners": True}, True, "1 of 1 approval."),
    ],
)
def test_a_commit_is_approved_once_enough_people_and_owners_did(given, policy, is_complete, text):
    state = build_state(*given, **policy)
    assert (state.is_complete, state.describe()) == (is_complete, text)


@pytest.mark.parametrize(
    ("state", "approver", "code"),
    [
        (build_state(), ANN, None),
        (build_state(is_self_allowed=False), BOB, None),
        (build_state(is_self_allowed=False), Approver("zoe", "zoe"), "approval_of_own"),
        (build_state(is_self_allowed=False), Approver("token z", "zoe"), "approval_of_own"),
        (build_state(is_self_allowed=False), ANN, "approval_of_own"),  # wrote a commit
        (build_state(ANN, required_count=2), ANN, "already_approved"),
        (build_state(ANN, required_count=2), ANNS_TOKEN, "already_approved"),
        (build_state(ANN, required_count=2), BOB, None),
        (build_state(ANN), ANN, None),  # the setting was lowered: the run can go on
        (ApprovalState(Policy(is_self_allowed=False)), BOB, "approval_rules_unknown"),
        (ApprovalState(Policy(needs_owners=True)), BOB, "approval_rules_unknown"),
        (ApprovalState(), BOB, None),
    ],
)
def test_who_may_not_approve_is_told_why(state, approver, code):
    refusal = state.find_refusal(approver)
    assert (refusal and refusal.code) == code


def test_one_person_counts_once():
    state = build_state(required_count=2).with_approval(ANN).with_approval(ANNS_TOKEN)
    assert (state.count, state.given) == (1, (ANN,))


@pytest.mark.parametrize(
    ("ticked", "code"),
    [
        (["phone", "texts"], None),
        (["texts", "phone"], None),
        (["phone"], "checklist_incomplete"),
        ([], "checklist_incomplete"),
        (["phone", "texts", "other"], "checklist_changed"),
    ],
)
def test_every_item_of_the_checklist_must_be_confirmed_and_no_other(ticked, code):
    if code is None:
        check_ticked(["phone", "texts"], ticked)
        return
    with pytest.raises(Refused) as refused:
        check_ticked(["phone", "texts"], ticked)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("state", "approver", "status", "detail"),
    [
        (
            ApprovalState(Policy(needs_owners=True)),
            BOB,
            409,
            "What the target branch requires is not known yet: try again in a minute.",
        ),
        (
            build_state(is_self_allowed=False),
            ANN,
            403,
            "You made this run or its commits: another person must approve them.",
        ),
        (
            build_state(ANN, required_count=2),
            ANN,
            409,
            "You approved this commit already. 1 of 2 approvals.",
        ),
    ],
)
def test_a_refused_approval_says_why_and_what_is_missing(state, approver, status, detail):
    refusal = state.find_refusal(approver)
    assert (refusal.status, refusal.detail) == (status, detail)


@pytest.mark.parametrize(
    ("checklist", "ticked", "detail"),
    [
        (
            ["phone", "texts", "links"],
            ["texts"],
            "Confirm every item of the target branch's checklist: phone, links.",
        ),
        (
            ["phone", "texts"],
            ["other", "more"],
            "The target branch's checklist has no item 'other'; it has: phone, texts.",
        ),
        (
            [],
            ["x" * 201],
            f"The target branch's checklist has no item '{'x' * 200}'; it has: no items.",
        ),
    ],
)
def test_a_checklist_that_is_not_confirmed_names_what_is_missing_or_unknown(
    checklist, ticked, detail
):
    with pytest.raises(Refused) as refused:
        check_ticked(checklist, ticked)
    assert (refused.value.status, refused.value.detail) == (409, detail)


@pytest.mark.parametrize(
    ("paths", "count", "text"),
    [
        (("a",), 1, "a (@ann, @backend)"),
        (("a", "b", "c"), 3, "a, b, c (@ann, @backend)"),
        (("a", "b", "c", "d"), 4, "a, b, c and 1 more (@ann, @backend)"),
        (("a", "b"), 9, "a, b and 7 more (@ann, @backend)"),
    ],
)
def test_owned_paths_are_named_up_to_three_and_then_counted(paths, count, text):
    owned = OwnedPaths(frozenset({"@/backend", "@ann"}), paths, count)
    assert str(owned) == text
    assert owned.sorted_owners == ["@/backend", "@ann"]


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ({}, False),
        ({"required_count": 1}, False),
        ({"required_count": 2}, True),
        ({"needs_owners": True}, True),
        ({"is_self_allowed": False}, True),
    ],
)
def test_a_policy_asks_for_more_than_one_approval_by_anyone(policy, asks):
    assert Policy(**policy).asks_for_more is asks


def test_owners_are_missing_only_if_they_are_asked_for_and_known():
    assert build_state().missing_owners == ()
    assert build_state(needs_owners=True).missing_owners == (BACKEND,)
    assert build_state(HOST, BOB, needs_owners=True).missing_owners == ()
    assert ApprovalState(Policy(needs_owners=True)).missing_owners == ()
    assert ApprovalState().checklist == ()
    assert ApprovalState(requirements=Requirements(("phone",))).checklist == ("phone",)
