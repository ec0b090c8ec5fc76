"""Which files of the release before stay."""

from releases.production.previous_assets import select_assets


def test_deleted_sources_and_what_was_made_from_them_do_not_stay():
    built = [
        "assets/index-B3fZk9Qa.js",
        "assets/about-C3fZk9Qa.js",
        "assets/salaries-D3fZk9Qa.csv",
        "assets/logo-E3fZk9Qa.png",
        "lib/vendor.3f9a1c2b.js",
        "robots.txt",
    ]
    deleted = ["src/pages/about.js", "data/salaries.csv", "vendor/vendor.3f9a1c2b.js", "robots.txt"]
    assert list(select_assets(iter(built), deleted)) == [
        "assets/index-B3fZk9Qa.js",
        "assets/about-C3fZk9Qa.js",
        "assets/logo-E3fZk9Qa.png",
    ]
