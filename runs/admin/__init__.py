"""The admin's pages of runs, slots, events, freezes and schedules, and the dashboard."""

from runs.admin import events_and_freezes, runs, schedules, slots

__all__ = ["events_and_freezes", "runs", "schedules", "slots"]
