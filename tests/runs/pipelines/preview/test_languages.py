"""Examples of docs/reference/manifest.md in Ruby, PHP and Go, as previews on this host.

They need the packages of TOOLCHAINS in ops/project_checks.py, which `test.sh --full` installs.
"""

import subprocess

import pytest

from tests.host.app.inspection.examples import read_examples

pytestmark = pytest.mark.full
EXAMPLES = {example.title: example for example in read_examples()}


def write(folder, title):
    folder.mkdir()
    EXAMPLES[title].write(folder)
    return folder


@pytest.mark.parametrize("title", ["Sinatra", "PHP", "Go"])
def test_an_example_of_the_page_is_previewed(host, tmp_path, title):
    application = write(tmp_path / "application", title)
    if (application / "Gemfile").exists():
        # Of this distribution's gems: the registry of gems may be out of reach.
        (application / "Gemfile.lock").unlink()
        subprocess.run(["bundle", "lock", "--local"], cwd=application, check=True)
    place = host(application)
    run = place.preview("feature/first", {"README.md": "hello"})
    assert place.page().text == f"Hello from {title}"
    assert place.page("/items").text == "2 items"
    assert run.failure_code == ""
