"""A checkout of its own for every test: its own var, its own ports."""

import os
from dataclasses import replace

import pytest

from oroboros.lib import config as configuration
from tests.environment import free_port


@pytest.fixture
def config(tmp_path):
    """A Config whose files lie in the test's folder and whose ports are free."""
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    environ = {**os.environ, "OROBOROS_VAR": str(tmp_path / "var")}
    environ["OROBOROS_RUNTIME_LOG_DIR"] = str(tmp_path / "runtime-logs")
    # Whoever tests here at the same time must not share our uids: a clean slot kills all of its.
    environ["OROBOROS_UID_BASE"] = str(100000 + 100 * (os.getpid() % 5000))
    loaded = configuration.load(environ)
    slots = tuple(
        replace(slot, web_port=free_port(), backend_port=free_port()) for slot in loaded.slots
    )
    return replace(loaded, slots=slots, web_port=free_port())


@pytest.fixture
def slot(config):
    return config.slots[0]
