"""What is said of an extension that PostgreSQL refuses to create."""

import pytest

from host.postgres.extension_refusals import explain_refused_extension


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('extension "pg_trgm" is not available', "no extension pg_trgm"),
        (
            'could not open extension control file "/usr/extension/uuid-ossp.control": No',
            "no extension uuid-ossp",
        ),
        ('permission denied to create extension "postgis"', "may create the extension postgis"),
        ('relation "extension" does not exist', ""),
    ],
)
def test_a_refused_extension_is_named_with_what_to_do(output, words):
    explained = explain_refused_extension(f"migrating\n{output}\nHINT: none")
    assert words in explained
    assert bool(explained) == bool(words)
