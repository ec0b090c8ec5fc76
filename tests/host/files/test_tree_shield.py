"""Tools in a tree of ours do not take the configuration of the checkout around it."""

import subprocess
import sys

import pytest

from host.config import load
from host.files import ownership

CONFIGURATION = """\
[tool.pytest.ini_options]
addopts = "-p no_such_plugin"
[tool.ruff]
select = "no such rules"
[tool.mypy]
plugins = ["no_such_plugin"]
"""


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Return a tree below `var`, as an ordinary user has it, in a checkout with its own tools."""
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000)
    (tmp_path / "pyproject.toml").write_text(CONFIGURATION)
    ownership.restrict_var(load({"OROBOROS_VAR": str(tmp_path / "var")}, tmp_path))
    tree = tmp_path / "var" / "gates" / "one" / "tree"
    tree.mkdir(parents=True)
    (tree / "test_one.py").write_text("def test_one() -> None:\n    assert True\n")
    return tree


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param(["pytest"], id="pytest"),
        pytest.param(["ruff", "check"], id="ruff"),
        pytest.param(["mypy", "test_one.py"], id="mypy", marks=pytest.mark.full),
    ],
)
def test_a_tool_does_not_find_the_configuration_of_the_checkout(tree, tool, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    env = {"TMPDIR": str(home), "HOME": str(home), "PATH": "/usr/bin:/bin"}
    argv = [sys.executable, "-m", *tool]
    outcome = subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    # No cache beside the shield, where the trees of other branches are too.
    assert [path.name for path in (tmp_path / "var").glob(".*cache*")] == []


def test_an_application_with_a_user_of_its_own_needs_no_shield(tmp_path, monkeypatch):
    monkeypatch.setattr(type(load({})), "job_user", property(lambda config: object()))
    monkeypatch.setattr(ownership, "allow_traversal", lambda folder, user: None)
    ownership.restrict_var(load({"OROBOROS_VAR": str(tmp_path)}))
    assert not (tmp_path / "pytest.ini").exists()
