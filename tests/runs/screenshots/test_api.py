"""Who sees pictures, and that nothing but pictures is served as one."""

import os

import pytest
from django.test import Client
from django.utils import timezone

from forges.reporting.comment import CommentFacts, write_comment
from runs.engine.artifacts import artifact_path
from runs.models import ScreenshotSet
from runs.screenshots.facts import read_screenshots
from tests.factories import ArtifactFactory, ReleaseFactory, RunFactory, UserFactory

PNG = b"\x89PNG\r\n\x1a\n picture"


def store(config, run, name, content=PNG):
    path = artifact_path(config, run, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ArtifactFactory(run=run, name=name, path=f"{run.pk}/{path.name}")


@pytest.fixture
def taken(config, ready):
    """The pictures of / on a desktop; on a phone production has none."""
    both = {"preview": {"status": 200, "error": ""}, "production": {"status": 404, "error": ""}}
    failed = {**both, "production": {"status": 0, "error": "the page crashed"}}
    for name in ("desktop_preview", "desktop_production", "phone_preview"):
        store(config, ready, f"screenshot_1_{name}")
    return ScreenshotSet.objects.create(
        run=ready,
        generation=1,
        commit_sha=ready.commit_sha,
        status="taken",
        requested_at=timezone.now(),
        ended_at=timezone.now(),
        release=ReleaseFactory(live=True),
        pictures=[
            {"number": 1, "path": "/", "device": "desktop", "changed": 0.034, **both},
            {"number": 1, "path": "/", "device": "phone", "changed": None, **failed},
        ],
    )


@pytest.fixture
def viewer(db):
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    return client


def test_a_viewer_lists_and_loads_pictures(viewer, ready, taken):
    found = viewer.get(f"/api/runs/{ready.pk}/screenshots").json()
    assert (found["status"], found["commit_sha"], found["largest_change"]) == (
        "taken", ready.commit_sha, 0.034,
    )  # fmt: skip
    assert found["release_id"] == taken.release_id
    desktop, phone = found["pages"]
    assert (desktop["production"]["status"], phone["production"]["url"]) == (404, "")
    assert phone["production"]["error"] == "the page crashed"
    answer = viewer.get(desktop["preview"]["url"])
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer["Content-Type"] == "image/png"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Cache-Control"] == "private, no-cache"
    listed = viewer.get(f"/api/runs/{ready.pk}/artifacts").json()["results"]
    assert desktop["preview"]["url"] in [one["url"] for one in listed]


def test_strangers_and_people_without_a_role_see_no_picture(ready, taken):
    roleless = Client()
    roleless.force_login(UserFactory())
    for client in (Client(), roleless):
        for name in ("", "/screenshot_1_desktop_preview"):
            answer = client.get(f"/api/runs/{ready.pk}/screenshots{name}")
            assert answer.status_code in (401, 403)


def test_no_other_artifact_is_served_as_a_picture(viewer, config, ready, taken):
    store(config, ready, "build_log", b"<script>")
    store(config, ready, "mail_0001", b"<script>")
    for name in ("build_log", "mail_0001", "screenshot_9_desktop_preview"):
        assert viewer.get(f"/api/runs/{ready.pk}/screenshots/{name}").status_code == 404
    (config.var / "artifacts" / str(ready.pk) / "1-screenshot_1_phone_preview").unlink()
    answer = viewer.get(f"/api/runs/{ready.pk}/screenshots/screenshot_1_phone_preview")
    assert answer.json()["error"] == "screenshot_gone"


NAME = "screenshot_1_desktop_preview"


@pytest.mark.parametrize(
    "name",
    [f"..%2f{NAME}", f"%2e%2e%2f1-{NAME}", "..%2f..%2fetc%2fpasswd", f"{NAME}%2f"],
)
def test_a_path_instead_of_a_pictures_name_is_404(viewer, ready, taken, name):
    answer = viewer.get(f"/api/runs/{ready.pk}/screenshots/{name}")
    assert (answer.status_code, PNG in answer.content) == (404, False)


def test_a_picture_of_another_run_is_404(viewer, ready, taken):
    other = RunFactory()
    for name in (NAME, f"..%2f{ready.pk}%2f1-{NAME}"):
        assert viewer.get(f"/api/runs/{other.pk}/screenshots/{name}").status_code == 404


@pytest.mark.parametrize("kind", ["symlink", "hard link", "pipe", "folder", "row"])
def test_a_pictures_file_that_is_another_file_is_not_served(viewer, config, ready, taken, kind):
    secret = config.var / "secret"
    secret.write_text("sesame")
    artifact = ready.artifacts.get(name=NAME)
    path = artifact_path(config, ready, NAME)
    if kind == "row":
        artifact.path = "../secret"
        artifact.save()
    else:
        path.unlink()
        makers = {
            "symlink": lambda: path.symlink_to(secret),
            "hard link": lambda: path.hardlink_to(secret),
            "pipe": lambda: os.mkfifo(path),
            "folder": path.mkdir,
        }
        makers[kind]()
    answer = viewer.get(f"/api/runs/{ready.pk}/screenshots/{NAME}")
    assert (answer.status_code, answer.json()["error"]) == (404, "screenshot_gone")


def test_the_page_shows_pictures_before_an_approval(viewer, ready, taken):
    page = viewer.get(f"/admin/runs/run/{ready.pk}/change/").content.decode()
    assert page.count('type="range"') == 1  # on the phone there is nothing to compare
    assert "<b>3.4 %</b> of the pixels changed" in page
    assert "Production: the page crashed" in page
    assert "Production answered 404." in page
    assert str(taken.release) in page
    assert f"{ready.pk}/artifacts/screenshot_" not in page


def test_pictures_that_retention_removed_are_said(ready, taken):
    ready.artifacts.all().delete()
    (pair, _) = read_screenshots(ready).pairs
    assert (pair.preview.url, pair.preview.error) == ("", "its file was removed")


def test_a_new_commit_has_no_pictures_of_the_one_before(ready, taken):
    ready.commit_sha, ready.generation = "e" * 40, 2
    assert read_screenshots(ready).pairs == ()


def test_the_comment_has_the_share_the_mails_and_no_picture():
    facts = CommentFacts("<!-- 1 -->", "a" * 40, run_url="https://api.example.com/run")
    assert "screenshots" not in write_comment(facts) and "mail" not in write_comment(facts)
    more = CommentFacts(
        "<!-- 1 -->", "a" * 40, run_url=facts.run_url, screenshot_change="3.4 %", mail_count=1
    )
    text = write_comment(more)
    assert (
        "Up to 3.4 % of a page's pixels changed: [screenshots](https://api.example.com/run)" in text
    )
    assert "The preview has sent [1 mail](https://api.example.com/run)" in text
    assert "![" not in text and "<img" not in text
