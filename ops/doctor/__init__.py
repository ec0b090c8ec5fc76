"""Examines a host and reports what is wrong and what to do about it."""
