"""Passwords in URLs are not shown."""

import pytest

from host.masking.urls import hide_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:s3cr3t@g.example/a.git", "https://g.example/a.git"),
        ("https://s3cr3t@g.example:8443/a.git", "https://g.example:8443/a.git"),
        ("ssh://git:s3cr3t@g.example/a.git", "ssh://git@g.example/a.git"),
        ("ssh://git@g.example:22/a.git", "ssh://git@g.example:22/a.git"),
        ("postgresql://role:s3cr@t@127.0.0.1/db", "postgresql://role@127.0.0.1/db"),
        ("http://a/,https://s3cr3t@b/ c", "http://a/,https://b/ c"),
        ("/srv/git/a@b.git", "/srv/git/a@b.git"),
    ],
)
def test_a_password_in_a_url_is_not_shown(url, shown):
    assert hide_password(url) == shown
