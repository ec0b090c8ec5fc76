"""Previews of built frontends with and without an index page."""

from tests.runs.pipelines.preview.conftest import TOML, WEB

OUTPUT = {
    "oroboros.toml": f'[frontend]\noutput = "dist"\n{TOML}',
    "dist/app/browser/index.html": "app",
    "dist/.env": "SECRET=1",
    "dist/app/.git-credentials": "secret",
    "dist/.well-known/security.txt": "served",
}


def test_output_without_an_index_page_fails_the_build_unless_a_backend_answers(host, tmp_path):
    application = tmp_path / "application"
    application.mkdir()
    (application / "index.html").write_text("home")
    place = host(application)
    run = place.carry("deeper", OUTPUT)
    assert (run.status, run.failure_code) == ("failed", "BUILD_FAILED")
    assert "no dist/index.html" in run.failure_detail
    assert "There is dist/app/browser/index.html" in run.failure_detail
    run = place.preview("deeper-with-backend", {**OUTPUT, "Procfile": WEB})
    assert [note["text"] for note in run.notes if note["step"] == "build"] == [
        "The build's output dist has no index.html: the backend answers every path that is no file "
        "of it."
    ]
    assert place.page("/app/browser/").text == "app"
    [hidden] = [note["text"] for note in run.notes if note["step"] == "surface"]
    assert ": .env, app/.git-credentials." in hidden
    assert place.page("/.well-known/security.txt").text == "served"
    assert "SECRET" not in place.page("/.env").text
    assert place.page("/").text == "home"  # of the folder that the backend serves
