"""A pool of three slots, and clients of the API."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.tokens import create_token
from runs.leasing import cleanup
from slots.models import Slot
from tests.lease_ends import nothing_is_left_at_the_end_of_a_lease

__all__ = ["nothing_is_left_at_the_end_of_a_lease"]


@pytest.fixture
def slots(db, settings):
    """The configured slots' rows, in order."""
    return [
        Slot.objects.create(slot_id=slot.slot_id, number=slot.number, host=settings.HOST_NAME)
        for slot in settings.OROBOROS.slots
    ]


@pytest.fixture
def slot(slots):
    """The only slot that is granted: the others are drained."""
    first, *others = slots
    for other in others:
        other.drained_at = "2026-01-01T00:00Z"
        other.save()
    return first


@pytest.fixture
def cleaner(monkeypatch):
    """What cleaning leaves, call after call; the cleaned slots are in `cleaner.seen`."""
    found = Cleaner()
    monkeypatch.setattr(cleanup, "clean_slot", found)
    monkeypatch.setattr(cleanup, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(cleanup, "CLEAN_SECONDS", 0.0)
    return found


class Cleaner:
    def __init__(self):
        self.seen = []
        self.left = []

    def __call__(self, config, slot):
        self.seen.append(slot.slot_id)
        return list(self.left)


class Caller:
    """A client of the API with a token."""

    def __init__(self, name, *abilities):
        self.name = f"token {name}"
        self.authorization = f"Bearer {token(name, abilities)}"
        self.client = Client(headers={"authorization": self.authorization})

    def get(self, path):
        return self.client.get(path)

    def post(self, path, **body):
        return self.client.post(path, body, content_type="application/json")

    def raw(self, path, body, content_type="application/json"):
        return self.client.post(path, data=body, content_type=content_type)


def token(name, abilities):
    return create_token(name, list(abilities), created_by="alice")


@pytest.fixture
def ci(db):
    """A program that makes runs, holds and releases slots."""
    return Caller("ci", "view", "hold")


@pytest.fixture
def operator(db):
    return Caller("operator", "view", "hold", "approve", "operate")


def together(work, items):
    """Do `work` on all items at once, a thread each; returns what came of each, or raises."""
    at_once = threading.Barrier(len(items))

    def one(item):
        at_once.wait()
        try:
            return work(item)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(one, items))
