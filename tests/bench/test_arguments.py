"""The benchmarks' command lines."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
SHARED = {"api_server.py", "arguments.py"}
BENCHMARKS = sorted(path.name for path in BENCH.glob("*.py") if path.name not in SHARED)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(BENCH / name), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_help_is_the_docstring_and_starts_nothing(name):
    result = run(name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    docstring = ast.get_docstring(ast.parse((BENCH / name).read_text()))
    assert docstring in result.stdout
    assert "default:" in result.stdout


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("slow_clients.py", "soon"),
        ("slow_clients.py", "nan"),
        ("slow_clients.py", "inf"),
        ("rollback.py", "0"),
        ("rollback.py", "1.5"),
        ("pipelines.py", "unknown"),
        ("memory.py", "--seconds=0"),
    ],
)
def test_another_argument_is_refused_with_its_value(name, argument):
    result = run(name, argument)
    assert (result.returncode, result.stdout) == (2, "")
    assert repr(argument.rpartition("=")[2]) in result.stderr
    assert "Traceback" not in result.stderr
