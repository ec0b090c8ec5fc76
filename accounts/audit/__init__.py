"""The audit trail: who did what from where, in a table that only grows."""
