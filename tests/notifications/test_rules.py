"""Which events lead to which notifications, who is told, and what is shown of an address."""

import pytest

from host.errors import Refused
from notifications.rules import (
    RunFacts,
    check_address,
    describe_address,
    matches,
    name_events,
)

READY = RunFacts("preview_ready", "", 2, 0)


def names(kind, run):
    return [event for event, _ in name_events(kind, run)]


def test_an_event_of_the_timeline_leads_to_its_notifications():
    assert names("preview_ready", READY) == ["run.ready", "run.approval_wanted"]
    assert names("approved", READY) == ["run.approval_wanted"]
    assert names("approved", RunFacts("approved", "", 1, 2)) == []
    assert names("failed", RunFacts("failed", "CHECKS_FAILED", 1, 0)) == ["run.failed"]
    failed = RunFacts("failed", "DEPLOY_HEALTHCHECK_FAILED", 1, 1)
    assert names("failed", failed) == ["run.deploy_failed"]
    assert names("merged", READY) == ["run.shipped"]
    assert names("frozen", None) == ["shipping.frozen"]
    assert names("quarantined", None) == ["slot.quarantined"]
    assert names("preview_ready", None) == []  # of a reservation


def test_the_next_approval_and_the_next_commit_are_no_duplicates():
    details = {
        name_events("approved", RunFacts("preview_ready", "", generation, approvals))[0][1]
        for generation in (1, 2)
        for approvals in (0, 1)
    }
    assert len(details) == 4


def test_a_target_is_told_of_its_events_and_branches():
    assert matches("run.ready", "feature/x", ["run.ready"], [])
    assert matches("run.ready", "feature/x", ["run.ready"], ["fix/*", "feature/*"])
    assert not matches("run.ready", "main", ["run.ready"], ["feature/*"])
    assert not matches("run.failed", "feature/x", ["run.ready"], [])
    assert matches("shipping.frozen", "", ["shipping.frozen"], ["feature/*"])
    assert matches("test", "", [], [])


def test_what_is_shown_of_an_address_has_no_secret():
    assert describe_address("webhook", "https://u:pw@hooks.example.com/T0/secret?k=v") == (
        "https://hooks.example.com/…"
    )
    assert describe_address("webhook", "https://hooks.example.com?k=v") == (
        "https://hooks.example.com/…"
    )
    assert describe_address("service", "slack://tokenA/tokenB/#room") == "slack://…"
    assert describe_address("email", "ann@example.com") == "ann@example.com"


@pytest.mark.parametrize(
    "address", ["", "x", "https://", "http://a b", "https://h:99999/", "ftp://h"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(Refused, match="address"):
        check_address("webhook", address)


@pytest.mark.parametrize(
    "address", ["ann", "a@example.com, b@example.com", "a@x.y\nBcc: b@x.y", ""]
)
def test_an_e_mail_target_is_one_address(address):
    check_address("email", "ann@example.com")
    with pytest.raises(Refused, match="no e-mail address"):
        check_address("email", address)
