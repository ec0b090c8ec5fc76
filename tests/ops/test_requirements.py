"""The pinned packages have wheels for each Python of install.md: a host has no compiler."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from host import config as configuration

# Debian 12, Ubuntu 24.04 and Debian 13.
VERSIONS = ("3.11", "3.12", "3.13")
ROW = re.compile(r"^\| (\w+ [0-9.]+) \| [0-9]+, [0-9]+, ([0-9.]+) \| (.+) \|$", re.MULTILINE)


def test_the_page_of_the_installation_says_of_each_python_what_was_tried():
    rows = ROW.findall((configuration.HOME / "docs" / "install.md").read_text())
    assert sorted(version for _, version, _ in rows) == list(VERSIONS)
    assert len({name for name, _, _ in rows}) == len(VERSIONS)


@pytest.mark.full
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["embedded", "dev", "mutants"])
def test_every_pin_has_a_wheel_for_the_python_of_each_distribution(version, name, tmp_path):
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    options = ["--dry-run", "--quiet", "--only-binary", ":all:", "--require-hashes"]
    pins = ["--python-version", version, "--target", tmp_path, "-r", f"requirements/{name}.txt"]
    done = subprocess.run(
        [uv, "pip", "install", *options, *pins],
        cwd=configuration.HOME,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
