"""Which events lead to which notifications, who is told, and what is shown of an address."""

import pytest

from host.errors import Refused
from notifications.rules import (
    TOKEN_LENGTH,
    Notice,
    RunFacts,
    build_payload,
    check_address,
    describe_address,
    list_secrets,
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
    "address", ["", "x", "https://", "http://a b", "https://h:0/", "https://h:99999/", "ftp://h"]
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


@pytest.mark.parametrize("address", ["http://hooks.example.com/x", "https://hooks.example.com:1/x"])
def test_a_webhooks_address_may_have_either_scheme_and_that_of_a_service_any(address):
    check_address("webhook", address)
    check_address("service", address)
    check_address("service", "slack://token/channel")
    with pytest.raises(Refused, match=r"begins with https:// or http://"):
        check_address("webhook", "slack://token/channel")


def test_a_webhooks_message_has_the_notice_and_its_time():
    notice = Notice(
        source="run:1",
        event="run.ready",
        subject="1",
        branch="",
        text="Look at it.",
        data={"run": "1"},
        url="https://a.example/1",
    )
    assert build_payload(notice, "2026-01-02T03:04:05Z") == {
        "type": "run.ready",
        "timestamp": "2026-01-02T03:04:05Z",
        "data": {
            "run": "1",
            "title": notice.title,
            "text": "Look at it.",
            "url": "https://a.example/1",
        },
    }


@pytest.mark.parametrize(
    ("kind", "address", "secret", "secrets"),
    [
        ("email", "ann@example.com", "whsec_abc", []),
        ("webhook", "https://a.example/x", "", []),
        ("webhook", "https://a.example/x", "whsec_abc", ["whsec_abc", "abc"]),
        ("webhook", "https://a.example/x", "abc", ["abc"]),
        # Long with a digit; long without one; short; the host itself.
        ("webhook", f"https://a.example/{'t' * 39}1/{'t' * 40}/t1", "", [f"{'t' * 39}1"]),
        ("webhook", f"https://{'h' * 40}1.example/x", "", []),
        ("webhook", f"https://{'H' * 40}1.example/x", "", []),
        ("service", f"slack://{'h' * 40}1/x", "", [f"{'h' * 40}1"]),
    ],
)
def test_no_text_may_show_an_address_its_secret_and_what_looks_like_a_token(
    kind, address, secret, secrets
):
    found = list_secrets(kind, address, secret)
    assert found == ([] if kind == "email" else [address, *secrets])


@pytest.mark.parametrize(("length", "is_token"), [(-1, False), (0, True), (1, True)])
def test_a_token_has_a_length(length, is_token):
    part = "t" * (TOKEN_LENGTH + length - 1) + "1"
    assert (part in list_secrets("webhook", f"https://a.example/{part}", "")) is is_token
