"""What every test may ask for."""

import os

import pytest


def pytest_collection_modifyitems(config, items):
    """Leave out what needs root where we are not root: said in the summary, a failure in CI."""
    if os.geteuid() == 0:
        return
    needs_root = [item for item in items if item.get_closest_marker("root")]
    if needs_root and os.environ.get("CI") == "true":
        raise pytest.UsageError(f"{len(needs_root)} tests need root, and CI must run them")
    items[:] = [item for item in items if not item.get_closest_marker("root")]
    config.stash[NOT_RUN] = [item.nodeid for item in needs_root]


NOT_RUN = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter, config):
    """List what was not run for want of root."""
    for nodeid in config.stash.get(NOT_RUN, []):
        terminalreporter.write_line(f"not run, needs root: {nodeid}")
