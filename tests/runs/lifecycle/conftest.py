"""Grants here do not depend on what this machine has free."""

from tests.runs.room import a_host_with_room

__all__ = ["a_host_with_room"]
