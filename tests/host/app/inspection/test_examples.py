"""Every example of the manifest's page is recognized as the page says."""

import pytest

from tests.host.app.inspection.examples import print_report, read_examples

EXAMPLES = read_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_an_example_of_the_page_is_recognized_as_it_says(example, tmp_path):
    example.write(tmp_path)
    assert print_report(tmp_path) == example.printed


def test_the_page_has_an_example_for_each_framework():
    titles = " ".join(example.title for example in EXAMPLES)
    for name in (
        "Django",
        "FastAPI",
        "Flask",
        "Express",
        "Next.js",
        "SvelteKit",
        "Rails",
        "Vite",
        "static site",
    ):
        assert name in titles
