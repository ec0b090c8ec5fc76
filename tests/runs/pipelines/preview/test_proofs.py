"""The list of proofs that this package shows is true."""

import re
from pathlib import Path

from tests.runs.pipelines import preview

TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)


def test_each_proof_that_the_package_names_is_there():
    files = Path(preview.__file__).parents[1].rglob("test_*.py")
    there = {name for file in files for name in TEST.findall(file.read_text())}
    named = re.findall(r"\btest_\w+", preview.__doc__)
    assert len(named) > 8
    assert set(named) <= there
