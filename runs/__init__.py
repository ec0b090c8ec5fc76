"""Runs: one branch or commit each, from the request to the merge."""
