"""Each row of docs/security.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_every_test_and_path_that_the_page_names_exists():
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"^ *def (test_\w+)\(", sources, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    paths = set(re.findall(r"`((?:tests|bench)/[\w./]+)`", PAGE))
    assert len(named) > 50
    assert named - defined == set()
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_each_row_of_the_page_names_a_test_or_says_that_there_is_none():
    tables = [line for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [line.strip("|").split(" | ") for line in tables if "| Test |" not in line]
    untested = [row[0] for row in rows if not re.search(r"`(test_|tests/|bench/)", row[-1])]
    assert len(rows) > 80
    # Root may do everything, and git does not prove who wrote a commit.
    assert [row[-1].strip() for row in rows if row[0] in untested] == ["–"] * 2
