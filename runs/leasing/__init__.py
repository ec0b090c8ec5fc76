"""Leases on slots: grants, renewal, expiry, cleanup, supervision of backends."""
