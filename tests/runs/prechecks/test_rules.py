"""When a precheck runs, gives way, ends, is stale and is due."""

import pytest

from runs.prechecks.rules import (
    OPEN,
    SHIPS,
    Outcome,
    PrecheckStatus,
    Subject,
    find_end_reason,
    find_wait_reason,
    is_due,
    is_stale,
)
from runs.rules import Status

A, B, C = "a" * 40, "b" * 40, "c" * 40


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (Subject(Status.PREVIEW_READY, A, 1), ""),
        (Subject(Status.PREVIEW_READY, A, 1, is_stopping=True), "being ended"),
        (Subject(Status.PREVIEW_READY, B, 1), "new commit"),
        (Subject(Status.PREVIEW_READY, A, 2), "prepared again"),
        (Subject(Status.PREPARING, A, 1), "The run is preparing."),
        (Subject(Status.APPROVED, A, 1), "was approved"),
        (Subject(Status.DEPLOYING, A, 1), "was approved"),
        (Subject(Status.EXPIRED, A, 1), "The run is expired."),
    ],
)
def test_a_precheck_ends_once_its_run_offers_another_commit_or_none(subject, words):
    reason = find_end_reason(subject, commit=A, generation=1)
    assert words in reason and bool(reason) == bool(words)


@pytest.mark.parametrize(
    ("shipping", "is_frozen", "reason"),
    [
        ([], False, "no memory"),
        ([Status.APPROVED], False, SHIPS),
        ([Status.APPROVED], True, "no memory"),  # it waits for a person
        ([Status.APPROVED, Status.MERGING], True, SHIPS),
        ([Status.DEPLOYING], False, SHIPS),
    ],
)
def test_a_precheck_waits_for_what_ships_and_for_memory(shipping, is_frozen, reason):
    assert find_wait_reason(shipping, "no memory", is_frozen=is_frozen) == reason
    if reason != SHIPS:
        assert find_wait_reason(shipping, "", is_frozen=is_frozen) == ""


@pytest.mark.parametrize(
    ("commit", "base", "stale"), [(A, B, False), (C, B, True), (A, C, True), (A, "", False)]
)
def test_a_result_is_stale_once_the_branch_or_the_target_moved(commit, base, stale):
    assert is_stale(Outcome(PrecheckStatus.PASSED, A, B), commit=commit, base=base) == stale


@pytest.mark.parametrize("status", PrecheckStatus)
def test_an_automatic_precheck_is_repeated_on_other_commits_only(status):
    same = is_due(Outcome(status, A, B), commit=A, base=B)
    moved = is_due(Outcome(status, A, B), commit=A, base=C)
    assert same == (status == PrecheckStatus.CANCELED)
    assert moved == (status not in OPEN)
    assert is_due(None, commit=A, base=B)
