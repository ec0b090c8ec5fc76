"""Grants here do not depend on what this machine has free."""

from tests.runs.free_capacity import a_host_with_free_capacity

__all__ = ["a_host_with_free_capacity"]
