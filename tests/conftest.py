"""Selects the tests that can run here, and lists the others at the end."""

import os
import shutil

import pytest

from host.process import private_tmp

# What the markers of tests require, and whether it is available.
NEEDS = {
    "root": os.geteuid() == 0,
    "mounts": private_tmp.is_supported(),
    "browser": shutil.which("chromium") is not None,
}
NOT_RUN = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config, items):
    """Remove tests that need something unavailable. In CI that is an error."""
    left_out = {
        item.nodeid: need
        for item in items
        for need, is_available in NEEDS.items()
        if not is_available and item.get_closest_marker(need)
    }
    if left_out and os.environ.get("CI") == "true":
        needs = ", ".join(sorted(set(left_out.values())))
        raise pytest.UsageError(f"{len(left_out)} tests need {needs}, and CI must run them")
    items[:] = [item for item in items if item.nodeid not in left_out]
    config.stash[NOT_RUN] = [f"not run, needs {need}: {test}" for test, need in left_out.items()]


def pytest_terminal_summary(terminalreporter, config):
    """List the tests that were not run, and what they need."""
    for line in config.stash.get(NOT_RUN, []):
        terminalreporter.write_line(line)
