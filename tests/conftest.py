"""Selects the tests that can run here, lists the others, and keeps files in one process."""

import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from host.files import ownership
from host.process import private_tmp, socket_owner
from tests.mutants.checkout import isolate_argv


def reports_bound_sockets():
    """Return whether the kernel lists sockets that are only bound, as Linux does since 6.8."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        return any(other.port == port for other in socket_owner.list_open_sockets())


# What the markers of tests require, and whether it is available.
NEEDS = {
    "root": os.geteuid() == 0,
    "mounts": private_tmp.is_supported(),
    "browser": shutil.which("chromium") is not None,
    "bound_sockets": reports_bound_sockets(),
    "mail_port": not socket_owner.list_listeners(25),
    "pid_namespaces": bool(isolate_argv()),
}
NOT_RUN = pytest.StashKey[list[str]]()
# Their tests share one stack or one machine, over several files.
INDIVISIBLE_FOLDERS = ("tests/system/", "tests/systemd/")


def pytest_collection_modifyitems(config, items):
    """Remove tests that need something unavailable, except in CI, where they fail."""
    if os.environ.get("CI") == "true":
        return
    left_out = {item.nodeid: need for item in items if (need := find_missing_need(item))}
    items[:] = [item for item in items if item.nodeid not in left_out]
    config.stash[NOT_RUN] = [f"not run, needs {need}: {test}" for test, need in left_out.items()]


def find_missing_need(item):
    """Return the first marker of the test that names something unavailable; None without one."""
    missing = (need for need, is_available in NEEDS.items() if not is_available)
    return next((need for need in missing if item.get_closest_marker(need)), None)


def pytest_runtest_setup(item):
    """Fail tests that were not removed although they cannot run here."""
    if need := find_missing_need(item):
        pytest.fail(f"This test needs {need}, and CI must run it.", pytrace=False)


class FileScheduling(LoadFileScheduling):
    """Runs the tests of a file, and those of an indivisible folder, in one process."""

    def _split_scope(self, nodeid):
        file = nodeid.partition("::")[0]
        return next((folder for folder in INDIVISIBLE_FOLDERS if file.startswith(folder)), file)


# Optional hooks: the mutants are tried without plugins, which take a second to import.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Distribute whole files, whatever `--dist` says: the tests of a file may share a stack."""
    return FileScheduling(config, log)


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


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker):
    """Have tests with `transactional_db` empty all tables, of which the audit trail refuses it."""
    from django.db import connection  # only these tests load Django

    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER accounts_audit_no_truncate")


@pytest.fixture
def configure(settings):
    """A function that changes settings of the environment for the test; returns all of them."""

    def change(**environ):
        config = settings.OROBOROS
        settings.OROBOROS = replace(config, environ={**config.environ, **environ})
        return settings.OROBOROS

    return change


@pytest.fixture
def open_path():
    """A folder that other users can enter; each start of pytest closes its own to them."""
    folder = Path(tempfile.mkdtemp(prefix="oroboros-open-"))
    folder.chmod(0o755)
    yield folder
    ownership.delete_tree(folder)
