"""The bytecode that the installation compiles: used by Python, and compiled anew after a change."""

import os
import subprocess
import sys

import pytest

from host import config as configuration
from host.errors import Refused
from ops.installed import bytecode


@pytest.fixture
def home(tmp_path):
    for name in ("app/rules.py", "app/__init__.py", "app/api/__init__.py", "tests/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("VALUE = 1\n")
    return tmp_path


def find_origin(home, module):
    """Return whether Python reads the module's bytecode: what `-v` says of it."""
    argv = [sys.executable, "-B", "-v", "-c", f"import {module}"]
    done = subprocess.run(argv, cwd=home, capture_output=True, text=True, check=True)
    return "matches" if f"matches {home / module.replace('.', '/')}" in done.stderr else "compiled"


def test_python_reads_what_was_compiled_and_tests_are_left_out(home):
    assert not bytecode.has_current(home)
    bytecode.compile_modules(home)
    assert bytecode.has_current(home)
    assert find_origin(home, "app.rules") == "matches"
    assert not (home / "tests/__pycache__").exists()


@pytest.mark.parametrize("text", ["VALUE = 2\n", "VALUE = 10\n"])
def test_a_changed_module_is_compiled_anew(home, text):
    bytecode.compile_modules(home)
    path = home / "app/rules.py"
    changed = path.stat().st_mtime + 10
    path.write_text(text)
    os.utime(path, (changed, changed))
    assert not bytecode.has_current(home)
    assert find_origin(home, "app.rules") == "compiled"
    bytecode.compile_modules(home)
    assert bytecode.has_current(home)


def test_bytecode_of_a_module_that_is_gone_is_removed(home):
    bytecode.compile_modules(home)
    (home / "app/rules.py").unlink()
    bytecode.compile_modules(home)
    assert [path.name.partition(".")[0] for path in (home / "app/__pycache__").iterdir()] == [
        "__init__"
    ]


def test_of_another_interpreter_it_is_not_current(home):
    bytecode.compile_modules(home)
    path = next((home / "app/__pycache__").glob("rules.*"))
    path.write_bytes(b"\0\0\r\n" + path.read_bytes()[4:])
    assert not bytecode.is_current(home / "app/rules.py")


def test_a_module_that_cannot_be_compiled_is_named(home):
    (home / "app/rules.py").write_text("def\n")
    with pytest.raises(Refused, match=r"app/rules\.py"):
        bytecode.compile_modules(home)


def test_the_packages_are_those_that_the_units_import():
    names = {path.name for path in bytecode.list_packages(configuration.HOME)}
    assert {"core", "host", "oroboros", "ops", "runs", "slots", "web"} <= names
    assert not names & {"tests", "bench", "var", ".venv"}
