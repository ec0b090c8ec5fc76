"""What every test may ask for."""

import os
import shutil

import pytest

# What a test's marker says it needs, and whether it is here.
NEEDS = {
    "root": os.geteuid() == 0,
    "browser": shutil.which("chromium") is not None,
}
NOT_RUN = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config, items):
    """Leave out what needs something that is not here: said at the end, a failure in CI."""
    left_out = {
        item.nodeid: need
        for item in items
        for need, is_here in NEEDS.items()
        if not is_here and item.get_closest_marker(need)
    }
    if left_out and os.environ.get("CI") == "true":
        needs = ", ".join(sorted(set(left_out.values())))
        raise pytest.UsageError(f"{len(left_out)} tests need {needs}, and CI must run them")
    items[:] = [item for item in items if item.nodeid not in left_out]
    config.stash[NOT_RUN] = [f"not run, needs {need}: {test}" for test, need in left_out.items()]


def pytest_terminal_summary(terminalreporter, config):
    """List what was not run, and for want of what."""
    for line in config.stash.get(NOT_RUN, []):
        terminalreporter.write_line(line)
