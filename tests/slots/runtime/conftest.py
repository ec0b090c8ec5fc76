"""A checkout of its own for every test: its own var, its own ports, its own uids."""

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from host import config as configuration
from tests import environment


@pytest.fixture
def folder():
    """A folder that the slots' users can reach, as pytest's own cannot be."""
    folder = Path(tempfile.mkdtemp(dir=environment.CLUSTER.folder.parent))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def config(folder):
    """A Config whose files lie in the test's folder and whose ports are free."""
    environ = {**os.environ, "OROBOROS_VAR": str(folder / "var")}
    environ["OROBOROS_RUNTIME_LOG_DIR"] = str(folder / "runtime-logs")
    # Whoever tests here at the same time must not share our uids: a clean slot kills all of its.
    environ["OROBOROS_UID_BASE"] = str(100000 + 100 * (os.getpid() % 5000))
    loaded = configuration.load(environ)
    slots = tuple(
        replace(slot, web_port=environment.free_port(), backend_port=environment.free_port())
        for slot in loaded.slots
    )
    return replace(loaded, slots=slots, web_port=environment.free_port())


@pytest.fixture
def slot(config):
    return config.slots[0]
