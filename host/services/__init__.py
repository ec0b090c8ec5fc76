"""Servers that run for applications: Redis."""
