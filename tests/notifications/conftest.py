"""Receivers, and settings that allow loopback."""

import pytest

from notifications import sending, targets
from notifications.models import Notification
from notifications.rules import NotificationEvent
from tests.notifications.receivers import receiving, receiving_mail


@pytest.fixture
def configure(configure):
    """As the one of all tests; receivers on loopback are allowed."""
    configure(NOTIFICATION_NETWORKS="127.0.0.0/8")
    return configure


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


@pytest.fixture
def mail(configure):
    with receiving_mail() as (box, port):
        configure(
            NOTIFICATION_SMTP_HOST="127.0.0.1",
            NOTIFICATION_SMTP_PORT=str(port),
            NOTIFICATION_SMTP_SECURITY="none",
            NOTIFICATION_MAIL_FROM="oroboros@example.com",
        )
        yield box


@pytest.fixture
def add(configure):
    """A function that adds a target which is told everything."""

    def make(kind, address, **fields):
        values = {"name": kind, "actor": "ann", "events": NotificationEvent.values, **fields}
        return targets.add_target(kind=kind, address=address, **values)

    return make


@pytest.fixture
def notify(settings):
    """A function that does what the worker does each second, and returns what is stored."""

    def step():
        sending.notify(settings.OROBOROS)
        return list(Notification.objects.order_by("pk"))

    return step
