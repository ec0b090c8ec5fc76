"""The admin's pages of runs, share links, slots, events, freezes and schedules; the dashboard."""

from runs.admin import events_and_freezes, runs, schedules, share_links, slots

__all__ = ["events_and_freezes", "runs", "schedules", "share_links", "slots"]
