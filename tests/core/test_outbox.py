"""When an outgoing message is sent, sent again, and given up."""

from datetime import timedelta

import pytest
from django.db.models import F

from core import claims
from core.clock import ClockTimestamp, get_database_time
from core.outbox import compute_backoff, is_given_up
from host.errors import DeliveryFailed
from notifications.models import Notification, Target
from notifications.rules import TargetKind

rows = Notification.objects


def test_a_message_waits_longer_each_time_but_as_long_as_the_receiver_asks():
    assert [compute_backoff(n, None) for n in (1, 2, 3, 20)] == [5, 10, 20, 600]
    assert compute_backoff(1, 3000.0) == 3000
    assert compute_backoff(1, 1e9) == 24 * 3600
    assert is_given_up(True, timedelta(0))
    assert not is_given_up(False, timedelta(hours=2))
    assert not is_given_up(False, timedelta(hours=24))
    assert is_given_up(False, timedelta(hours=25))


@pytest.fixture
def target(db):
    return Target.objects.create(
        name="chat", kind=TargetKind.WEBHOOK, address="-", secret="-", created_at=ClockTimestamp()
    )


@pytest.fixture
def add(target):
    """A function that adds a message that is due."""

    def make(source="1", **fields):
        now = ClockTimestamp()
        values = {"wanted_at": now, "due_at": now, "event": "a", "payload": {}, **fields}
        return rows.get(pk=rows.create(target=target, source=source, **values).pk)

    return make


def want_newer(message):
    """Replace the text while the one before is being sent."""
    rows.filter(pk=message.pk).update(wanted_at=F("wanted_at") + timedelta(seconds=1))


def refuse(message, *, is_permanent=False):
    raise DeliveryFailed("busy", "busy", is_permanent=is_permanent)


def test_the_oldest_text_that_is_due_is_sent_first(add):
    old, at = timedelta(minutes=1), get_database_time()
    add("later", due_at=at + timedelta(hours=1))
    add("sent", is_waiting=False)
    add("given up", given_up_at=at)
    second, first = add("b"), add("a", wanted_at=at - old)
    assert list(rows.due()) == [first, second]


def test_a_message_is_sent_once_and_its_failures_are_forgotten(add):
    message, sent = add(failures=3, error="busy", attempts=2), []
    assert rows.send(message.pk, sent.append) is None
    assert rows.send(message.pk, sent.append) is None
    after = rows.get(pk=message.pk)
    assert [one.pk for one in sent] == [message.pk]
    assert (after.state, after.failures, after.attempts, after.error) == ("sent", 0, 1, "")
    assert after.delivered_at is not None
    assert after.claim_expires_at is None


def test_a_message_that_another_process_sends_is_left(add):
    message = add()
    assert rows.claim(message.pk, claims.make_owner_name())
    assert rows.send(message.pk, pytest.fail) is None
    assert rows.get(pk=message.pk).state == "waiting"


def test_a_newer_text_waits_when_the_one_before_was_sent_or_given_up(add):
    sent, refused = add("1"), add("2")
    rows.send(sent.pk, want_newer)
    failure = rows.send(
        refused.pk, lambda message: (want_newer(message), refuse(message, is_permanent=True))
    )
    assert failure.due_at is None
    assert [rows.get(pk=one.pk).state for one in (sent, refused)] == ["waiting", "waiting"]


def test_a_message_that_fails_is_due_later_and_one_for_ever_refused_is_given_up(add):
    later, never, other = add("1", failures=1), add("2"), add("3")
    wait, before = timedelta(seconds=10), get_database_time()
    failure = rows.send(later.pk, refuse)
    after = rows.get(pk=later.pk)
    assert (after.failures, after.error, after.state) == (2, "busy", "waiting")
    assert after.due_at == failure.due_at
    assert before + wait <= failure.due_at <= get_database_time() + wait
    assert rows.send(never.pk, lambda one: refuse(one, is_permanent=True)).due_at is None
    assert (rows.get(pk=never.pk).state, rows.get(pk=never.pk).error) == ("given up", "busy")
    assert rows.get(pk=other.pk) in rows.due()


def test_those_that_wait_are_postponed_and_none_is_sent_sooner(add):
    at = get_database_time()
    late = add("late", due_at=at + timedelta(hours=2))
    soon, sent = add("soon"), add("sent", is_waiting=False)
    rows.all().postpone(at + timedelta(hours=1))
    due = {one.source: one.due_at for one in rows.all()}
    assert due == {
        "late": late.due_at, "soon": at + timedelta(hours=1), "sent": sent.due_at
    }  # fmt: skip
    assert soon.due_at < at + timedelta(hours=1)


def test_a_message_that_was_given_up_is_sent_again_when_a_person_asks(add):
    at = get_database_time()
    old = {"due_at": at + timedelta(hours=2), "wanted_at": at - timedelta(days=2)}
    message, other = add(given_up_at=at, failures=9, **old), add("other", given_up_at=at)
    sent = add("sent", is_waiting=False)
    assert rows.all().send_again(message.pk)
    assert not rows.all().send_again(sent.pk)
    after = rows.get(pk=message.pk)
    assert list(rows.due()) == [after]
    assert (after.failures, after.wanted_at >= at) == (0, True)
    assert rows.get(pk=other.pk).state == "given up"
