"""A host that has room, whatever this machine has free: imported by the conftest of a folder."""

import pytest

from slots.rules import Capacity


@pytest.fixture(autouse=True)
def a_host_with_free_capacity(monkeypatch):
    monkeypatch.setattr("runs.leasing.grants.read_free_capacity", lambda: Capacity(10**6, 10**6))
