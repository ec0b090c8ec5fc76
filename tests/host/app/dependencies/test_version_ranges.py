"""Ranges of PEP 440, of Poetry and of npm."""

import pytest

from host.app.dependencies.version_ranges import is_satisfied, parse_version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (">=3.11", True),
        (">=3.13", False),
        (">= 3.9, <4.0", True),
        (">=3.9,<3.11", False),
        ("<=3.11", True),
        (">3.11", True),
        ("!=3.11.2", False),
        ("!=3.10.*", True),
        ("==3.11.*", True),
        ("==3.12.*", False),
        ("~=3.11", True),
        ("~=3.10.2", False),
        ("^3.11", True),
        ("^3.12", False),
        ("~3.11", True),
        ("~3.10", False),
        ("3.11", True),
        ("3.11.2", True),
        ("3.11.9", False),
        ("*", True),
        ("3.x", True),
        ("^2.7 || ^3.6", True),
        ("2.7 | 3.6", False),
        ("3.9 - 3.12", True),
        (">=3.11.0rc1", True),
        ("lts/jod", None),
        ("pypy", None),
        ("", None),
    ],
)
def test_a_version_is_in_a_range(text, expected):
    assert is_satisfied((3, 11, 2), text) is expected


@pytest.mark.parametrize(
    ("text", "version"),
    [("/usr/bin/python3.11 x Python 3.11.2", (3, 11)), ("v20.20.2", (20, 20, 2)), ("none", ())],
)
def test_a_version_is_read_from_a_text(text, version):
    assert parse_version(text) == version
