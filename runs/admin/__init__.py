"""The desk of those who look, approve and operate."""

from runs.admin import records, runs, slots

__all__ = ["records", "runs", "slots"]
