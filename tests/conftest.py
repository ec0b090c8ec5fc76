"""Selects the tests that can run here, lists the others, and keeps files in one process."""

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
# Their tests share one stack or one machine, over several files.
INDIVISIBLE_FOLDERS = ("tests/system/", "tests/systemd/")


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
    for item in items:
        item.add_marker(pytest.mark.xdist_group(find_group(item.nodeid)))


def find_group(test):
    """Return the name of the tests that pytest-xdist runs in one process with this one."""
    file = test.partition("::")[0]
    return next((folder for folder in INDIVISIBLE_FOLDERS if file.startswith(folder)), file)


def pytest_sessionfinish(session):
    """Hand the list of tests that were not run from a process of pytest-xdist to the first one."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["not_run"] = session.config.stash.get(NOT_RUN, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Take that list over; each process has the same one."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[NOT_RUN] = output.get("not_run", node.config.stash.get(NOT_RUN, []))


def pytest_terminal_summary(terminalreporter, config):
    """List the tests that were not run, and what they need."""
    for line in config.stash.get(NOT_RUN, []):
        terminalreporter.write_line(line)
