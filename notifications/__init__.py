"""Notifications: what people and programs outside are told of runs, slots and releases."""
