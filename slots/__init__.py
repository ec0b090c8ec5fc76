"""Slots and leases."""
