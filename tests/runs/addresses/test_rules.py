"""Host names and what they say: values in, values out."""

import pytest

from runs.addresses import rules
from runs.rules import FINAL, Status


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
