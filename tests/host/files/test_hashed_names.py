"""Which names carry a hash of the content."""

import pytest

from host.files.hashed_names import is_hashed, split_hash


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("index-B3fZk9Qa.js", "index.js"),
        ("index-B-fZ3k_a.js", "index.js"),
        ("page.DiGsd3kf.css", "page.css"),
        ("my-lib-B3fZk9Qa.js", "my-lib.js"),
        ("main.073c9b0a.chunk.js", "main.chunk.js"),
        ("main.073c9b0a.js.map", "main.js.map"),
        ("chunk-5NOVQPGV.js", "chunk.js"),
        ("base.55e7cbb9ba48.css", "base.css"),
        ("app-12345678.js", "app.js"),
        ("app-deadbeef.js", "app.js"),
        ("logo.abcdef12.png", "logo.png"),
        ("inter-latin-400-normal.C38fXH4l.woff2", "inter-latin-400-normal.woff2"),
        ("salaries-B3fZk9Qa.csv", "salaries.csv"),
        ("data.3f2a9c1b.json", "data.json"),
        ("B3fZk9Qa.js", "js"),
        ("3f9a1c2b4d5e6f70.css", "css"),
    ],
)
def test_hash_of_a_bundler_is_recognised(name, plain):
    assert split_hash(name) == plain


@pytest.mark.parametrize(
    "name",
    [
        *("salaries.csv", "app.js", "jquery-3.7.1.min.js", "app-one.js", "bootstrap5.js"),
        *("export-20240101.csv", "photo-20240101.jpg", "a.12345678.csv", "my-jane-doe-2024.csv"),
        *("report-2024final.pdf", "guide-chapter10.pdf", "jane.documentation.pdf"),
        *("og-image-1200x630.png", "android-chrome-192x192.png", "team-photo-Final2.jpg"),
        *("app-myWidgets.js", "README-INTERNAL.txt", "salaries-2024-Q1.csv", "backup.sql.gz"),
        *("page-3f9a1c2b.html", "index.html", "-", ".", "", ".env", "3f9a1c2b4d5e6f70"),
    ],
)
def test_word_date_or_size_is_no_hash(name):
    assert not is_hashed(name)
