"""The table of the folders under `var`, and what killed processes left in them."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from host import config as configuration
from host.files import var_folders
from tests.packages import PACKAGES

MAKER = """
import os, sys, time
from host import config as configuration
from host.files import var_folders
with var_folders.private_folder(configuration.load(), None) as home:
    (home / "large").mkdir()
    print(home.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def config(tmp_path):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var")})


def test_the_table_has_every_folder_that_the_code_names():
    sources = [
        path.read_text()
        for package in PACKAGES
        for path in (configuration.HOME / package).rglob("*.py")
    ]
    named = {name for text in sources for name in re.findall(r'\bvar / "([\w.-]+)', text)}
    assert len(named) > 15
    assert named - var_folders.ENTRIES.keys() == set()


def test_the_home_of_a_killed_process_is_deleted_and_that_of_a_living_one_stays(config):
    environ = {**os.environ, "OROBOROS_VAR": str(config.var), "PYTHONPATH": str(configuration.HOME)}
    argv = [sys.executable, "-c", MAKER]
    with (
        subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, text=True) as killed,
        var_folders.private_folder(config, None) as own,
    ):
        name = killed.stdout.readline().strip()
        assert var_folders.remove_abandoned_folders(config) == []
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
        assert var_folders.remove_abandoned_folders(config, dry_run=True) == [f"tmp/{name}"]
        assert var_folders.remove_abandoned_folders(config) == [f"tmp/{name}"]
        assert list((config.var / "tmp").iterdir()) == [own]
    assert list((config.var / "tmp").iterdir()) == []


def test_a_folder_without_a_process_in_its_name_is_deleted_after_a_day(config):
    old, young = config.var / "repo.git" / "layout-a", config.var / "tmp" / "home-b"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, times=(time.time() - 25 * 3600,) * 2)
    assert var_folders.remove_abandoned_folders(config) == ["repo.git/layout-a"]


def test_unknown_names_are_listed_and_stay(config):
    (config.var / "log").mkdir(parents=True)
    (config.var / "my backup").write_text("mine")
    assert var_folders.list_unknown_names(config) == ["my backup"]
    var_folders.remove_abandoned_folders(config)
    assert (config.var / "my backup").exists()
