"""What a real browser's open page may still load after a deploy, a deletion and a rollback."""

import pytest
from django.db import connections
from playwright.sync_api import sync_playwright

from releases.deployments import deploy_and_rollback
from tests.releases.production_state import deploy

pytestmark = [pytest.mark.full, pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# Past the browser's own copies: what the server still has.
LIST_LOADED = """async names => {
  const answers = await Promise.all(names.map(name => fetch(name, {cache: "no-store"})));
  return names.filter((_, number) => answers[number].ok);
}"""


@pytest.fixture
def open_page(config, monkeypatch):
    """Open production in a browser; its page stays as it is."""
    # Playwright runs an event loop in this thread, which Django would refuse to work beside.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)

        def load():
            page = browser.new_context().new_page()
            page.goto(f"http://127.0.0.1:{config.web_port}/")
            return page

        yield load
        browser.close()
        # Beside the loop Django has connections of their own, which would outlive the database.
        connections.close_all()


def test_an_open_page_loads_its_own_assets_and_nothing_that_was_deleted(
    config, repo, web, open_page
):
    names = ["/app-0000000a.js", "/salaries.csv", "/photo-1a2b3c4d.png", "/kept-1a2b3c4d.png"]
    repo.build_frontend(**{name[1:]: "text" for name in names[1:]})
    first = deploy(config, repo.commit("0000000a"))
    before = open_page()
    assert before.evaluate(LIST_LOADED, names) == names
    deploy(config, repo.commit("0000000b"))
    assert before.title() == "0000000a"
    assert before.evaluate(LIST_LOADED, names) == names
    after = open_page()
    assert after.title() == "0000000b"
    gone = {"public/salaries.csv": None, "public/photo-1a2b3c4d.png": None}
    deploy(config, repo.commit("0000000c", **gone))
    # The page of the release before last has to be reloaded.
    assert before.evaluate(LIST_LOADED, names) == ["/kept-1a2b3c4d.png"]
    assert after.evaluate(LIST_LOADED, ["/app-0000000b.js", *names[1:]]) == [
        "/app-0000000b.js",
        "/kept-1a2b3c4d.png",
    ]
    taken_back = open_page()
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a test")
    assert taken_back.evaluate(LIST_LOADED, ["/app-0000000c.js", *names]) == names
    assert open_page().title() == "0000000a"
