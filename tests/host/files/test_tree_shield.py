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
    (tmp_path / ".gitignore").write_text("/var/\n")
    (tmp_path / "manage.py").touch()
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "__init__.py").touch()
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
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


@pytest.mark.root
@pytest.mark.parametrize(
    "words",
    [
        ["tests"],
        pytest.param([], marks=pytest.mark.full),
        pytest.param(["-q", "tests/test_two.py::test_two"], marks=pytest.mark.full),
    ],
)
def test_a_user_who_may_not_list_var_runs_pytest(open_path, words):
    var = open_path / "var"
    ownership.restrict_var(load({"OROBOROS_VAR": str(var)}, open_path))
    tree = var / "templates" / "one"
    (tree / "tests").mkdir(parents=True)
    for folder in (var, tree.parent):
        folder.chmod(0o711)
    fixture = "import pytest\n\n\n@pytest.fixture\ndef two():\n    return 2\n"
    (tree / "conftest.py").write_text(fixture)
    (tree / "tests/test_two.py").write_text("def test_two(two):\n    assert two == 2\n")
    (tree / "pyproject.toml").write_text("[project]\nname = 'one'\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
    env = {"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"}
    outcome = subprocess.run(argv, cwd=tree, env=env, user=65534, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "1 passed" in outcome.stdout


def run(tree, tmp_path, *argv):
    env = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True)


def test_a_tool_that_honors_gitignore_reads_the_files_of_the_tree(tree, tmp_path):
    (tree / "wrong.py").write_text("import os\n")
    (tree / "ignored.py").write_text("import sys\n")
    (tree / ".gitignore").write_text("ignored.py\n")
    outcome = run(tree, tmp_path, sys.executable, "-m", "ruff", "check", "--no-cache")
    assert "`os` imported but unused" in outcome.stdout
    assert "`sys`" not in outcome.stdout


def test_git_finds_no_repository_above_the_tree_whatever_its_environment(tree, tmp_path):
    outcome = run(tree, tmp_path, "git", "rev-parse", "--show-toplevel")
    assert (outcome.returncode, outcome.stdout) == (128, "")
    assert "not a git repository" in outcome.stderr


def test_pytest_django_does_not_put_the_checkout_on_pythons_path(tree, tmp_path):
    (tree / "src").mkdir()
    (tree / "src" / "manage.py").touch()
    code = f"import sys\n\n\ndef test_one():\n    assert {str(tmp_path)!r} not in sys.path\n"
    (tree / "test_one.py").write_text(code)
    outcome = run(tree, tmp_path, sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    assert outcome.returncode == 0, outcome.stdout
    assert "plugins:" in outcome.stdout and "django" in outcome.stdout
