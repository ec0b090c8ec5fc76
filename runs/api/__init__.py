"""The HTTP API of runs, slots and shipping."""
