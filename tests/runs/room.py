"""A host that has room, whatever this machine has free: imported by the conftest of a folder."""

import pytest

from slots.rules import Room


@pytest.fixture(autouse=True)
def a_host_with_room(monkeypatch):
    monkeypatch.setattr("runs.leasing.grants.room", lambda: Room(10**6, 10**6))
