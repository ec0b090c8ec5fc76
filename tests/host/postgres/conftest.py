"""Databases are those of a checkout of its own for every test."""

from tests.slots.runtime.conftest import config, folder, slot

__all__ = ["config", "folder", "slot"]
