"""Prechecks: the merge gate of a ready run on today's target branch, before the approval."""
