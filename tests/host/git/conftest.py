"""A developer's checkout, and our repository, which fetches from it."""

import os

import pytest

from host import config
from host.git.bare_repository import Repository
from tests.host.git.laptop import Checkout


@pytest.fixture
def repository(tmp_path):
    conf = config.load({"GIT_LOCAL_ROOTS": str(tmp_path), "PATH": os.environ["PATH"]})
    made = Repository(tmp_path / "ours.git", conf)
    made.create_if_missing()
    return made


@pytest.fixture
def laptop(tmp_path):
    return Checkout(tmp_path / "laptop")
