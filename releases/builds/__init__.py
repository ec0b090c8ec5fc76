"""Immutable builds of commits."""
