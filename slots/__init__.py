"""Slots and leases, and in `runtime` what a slot is on the host."""
