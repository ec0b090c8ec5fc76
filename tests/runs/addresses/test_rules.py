"""Host names and what they say: values in, values out."""

from datetime import UTC, datetime, timedelta

import pytest

from runs.addresses import rules
from runs.rules import FINAL, Status

AT = datetime(2026, 3, 1, tzinfo=UTC)
DAYS, SECOND = timedelta(days=rules.ENDED_DAYS), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("one-1a2b3c.preview.oro.test", "one-1a2b3c"),
        ("ONE-1A2B3C.Preview.Oro.Test.", "one-1a2b3c"),
        ("pr-7.preview.localhost:8088", "pr-7"),
        ("one.preview.oro.test.evil.example", None),
        ("a.b.preview.oro.test", None),
        ("preview.oro.test", None),
        (f"{'a' * 64}.preview.oro.test", None),
        ("onexpreview.oro.test", None),
        ("", None),
    ],
)
def test_a_label_is_read_from_the_previews_of_the_domain_only(host, label):
    assert rules.find_label(host, "oro.test") == label


@pytest.mark.parametrize(
    ("label", "number"),
    [("pr-7", 7), ("pr-0", None), ("pr-07", None), ("pr-1234567890", None), ("xpr-7", None)],
)
def test_a_pull_requests_label_has_its_number(label, number):
    assert rules.find_number(label) == number


@pytest.mark.parametrize(
    ("host", "is_fixed"),
    [
        ("app.oro.test", True),
        ("API.oro.test", True),
        ("preview2.oro.test", True),
        ("preview4.oro.test", False),
        ("www.oro.test", False),
        ("app.oro.test.evil.example", False),
    ],
)
def test_production_the_control_plane_and_the_slots_have_fixed_names(host, is_fixed):
    assert rules.is_fixed_name(host, "oro.test", [1, 2, 3]) is is_fixed


def test_a_name_without_a_slot_says_what_happened_and_waits_for_what_still_comes():
    for status in Status:
        said = rules.explain(status, failure_code="BUILD_FAILED", position=2)
        assert said.is_waiting is (status not in FINAL)
        assert said.status == (404 if status in FINAL else 503)
    assert say(Status.QUEUED) == "Its run waits for a slot, at position 2 of the queue."
    assert say(Status.FAILED) == "Its run has failed: BUILD_FAILED."
    assert "expired" in say(Status.EXPIRED) and "merged" in say(Status.MERGED)


def say(status):
    return rules.explain(status, failure_code="BUILD_FAILED", position=2).detail


@pytest.mark.parametrize(
    ("ended", "is_recent"),
    [(None, True), (AT, True), (AT - DAYS + SECOND, True), (AT - DAYS, False)],
)
def test_a_run_is_recent_for_thirty_days_after_its_end(ended, is_recent):
    assert rules.is_recent(ended, AT) is is_recent


@pytest.mark.parametrize(("added", "has_budget"), [(0, True), (29, True), (30, False)])
def test_a_new_name_needs_a_place_among_those_of_the_day(added, has_budget):
    assert rules.has_budget(added, rules.NAMES_PER_DAY) is has_budget


@pytest.mark.parametrize(
    ("host", "label"),
    [
        ("ONE-1a2b3c.preview.oro.test.", "one-1a2b3c"),
        ("one-1a2b3c.preview.localhost", None),
        ("one-1a2b3c.preview.other.test", None),
    ],
)
def test_no_authority_knows_the_names_of_this_host(host, label):
    assert rules.find_public_label(host, "oro.test") == label
