"""Which files of the previous release stay."""

from releases.production.previous_assets import select_assets

BUILT = [
    "assets/index-B3fZk9Qa.js",
    "assets/about-C3fZk9Qa.js",
    "assets/about-C3fZk9Qa.js.map",
    "assets/salaries-D3fZk9Qa.csv",
    "assets/logo-E3fZk9Qa.png",
    "lib/vendor.3f9a1c2b.js",
    "robots.txt",
]


def test_deleted_sources_and_what_was_made_from_them_do_not_stay():
    deleted = ["src/pages/about.js", "data/salaries.csv", "vendor/vendor.3f9a1c2b.js", "robots.txt"]
    current = ["index-X3fZk9Qa.js", "static/logo-F3fZk9Qa.png", "salaries-G3fZk9Qa.csv"]
    assert list(select_assets(BUILT, current, deleted)) == [
        "assets/index-B3fZk9Qa.js",
        "assets/logo-E3fZk9Qa.png",
    ]


def test_code_stays_while_the_new_build_has_some_of_that_name():
    """An entry point and a component that was moved, beside one that was deleted."""
    deleted = ["src/admin/Index.vue", "src/About.tsx", "src/Vendor.scss"]
    current = ["assets/index-X3fZk9Qa.js", "assets/about-Y3fZk9Qa.js"]
    assert list(select_assets(BUILT, current, deleted)) == [
        "assets/index-B3fZk9Qa.js",
        "assets/about-C3fZk9Qa.js",
    ]


def test_what_the_new_build_lacks_does_not_stay_though_no_source_file_was_deleted():
    """A table that the build wrote from another file, and source maps that were switched off."""
    current = ["assets/index-X3fZk9Qa.js", "assets/logo.png"]
    assert list(select_assets(BUILT, current, [])) == [
        "assets/index-B3fZk9Qa.js",
        "assets/about-C3fZk9Qa.js",
        "assets/logo-E3fZk9Qa.png",
        "lib/vendor.3f9a1c2b.js",
    ]
