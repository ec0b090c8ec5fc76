"""Artifact downloads: byte ranges, growing logs, and paths that must not be served."""

import os

import pytest
from django.conf import settings
from django.test import Client

from accounts.tokens import create_token
from host.app.environment import ResolvedEnvironment, Variable
from host.masking.known_secrets import remember_secrets
from releases.production import app_instance
from releases.production.gate_start import GATE
from runs.engine.artifacts import artifacts_folder
from slots.runtime import backend_log
from tests.factories import ArtifactFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    token = create_token("reader", ["view"], created_by="tests")
    return Client(headers={"authorization": f"Bearer {token}"})


@pytest.fixture
def artifact():
    row = ArtifactFactory(name="build_log")
    path = artifacts_folder(settings.OROBOROS) / row.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"0123456789")
    row.file = path
    return row


@pytest.fixture
def secret():
    """A file beside the artifacts' folder, which no answer may hold."""
    path = artifacts_folder(settings.OROBOROS).parent / "secret"
    path.write_text("secret")
    yield path
    path.unlink()


def request_content(client, artifact, **headers):
    path = f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}"
    return client.get(path, headers=headers)


def test_an_artifact_is_served_as_a_download_that_browsers_do_not_render(client, artifact):
    artifact.file.write_bytes(b"<script>alert(1)</script>")
    answer = request_content(client, artifact)
    assert (answer.status_code, answer.getvalue()) == (200, b"<script>alert(1)</script>")
    assert answer["Content-Disposition"] == 'attachment; filename="build_log"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"].startswith("sandbox")
    assert answer["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=4-", 206, b"456789"),
        ("bytes=2-3", 206, b"23"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-99", 206, b"0123456789"),
        ("bytes=10-", 416, b""),
        ("bytes=5-2", 416, b""),
        ("bytes=-0", 416, b""),
        ("bytes=x", 200, b"0123456789"),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("bytes=-", 200, b"0123456789"),
    ],
)
def test_a_byte_range_returns_that_part(client, artifact, asked, status, body):
    answer = request_content(client, artifact, range=asked)
    assert (answer.status_code, answer.getvalue()) == (status, body)
    assert int(answer["Content-Length"]) == len(body)


def test_a_growing_log_is_read_from_the_given_offset(client, artifact):
    path = f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}?from="
    tail = client.get(path + "-3")
    assert (tail.status_code, tail.getvalue(), tail["X-Oroboros-Next"]) == (200, b"789", "10")
    nothing = client.get(path + "10")
    assert (nothing.status_code, nothing.getvalue(), nothing["X-Oroboros-Next"]) == (200, b"", "10")
    artifact.file.write_bytes(b"0123456789more")
    assert client.get(path + "10").getvalue() == b"more"
    for odd, body in (("-99", b"0123456789more"), ("99", b"")):
        assert client.get(path + odd).getvalue() == body
    assert client.get(path + "x").json()["error"] == "from_invalid"


def test_an_empty_log_returns_an_empty_body(client, artifact):
    artifact.file.write_bytes(b"")
    assert request_content(client, artifact).status_code == 200
    assert request_content(client, artifact, range="bytes=0-").status_code == 416


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2fetc/passwd", "%252e%252e/secret", "/etc/passwd", "%2fetc%2fpasswd", "x%00", "nope"],
)
def test_a_path_instead_of_a_name_returns_404(client, artifact, name):
    answer = client.get(f"/api/runs/{artifact.run.pk}/artifacts/{name}")
    assert (answer.status_code, answer.json()["error"]) == (404, "artifact_not_found")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "", "a/../../secret", "%2e%2e/secret", "a\x00b"[:1]]
)
def test_a_row_whose_path_leaves_the_folder_returns_404(client, artifact, secret, path):
    artifact.path = path
    artifact.save()
    assert request_content(client, artifact).json()["error"] == "artifact_not_found"


@pytest.mark.parametrize("put_aside", [False, True])
def test_the_log_of_a_running_backend_is_served(client, artifact, put_aside):
    config = settings.OROBOROS
    slot = config.slots[0]
    log = backend_log.path(config, slot)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("started\n")
    artifact.file.unlink()
    artifact.file.hardlink_to(log)
    if put_aside:  # the next run has begun in that slot
        backend_log.archive_previous(config, slot)
    else:
        log.write_text("started\nmore\n")
    answer = request_content(client, artifact)
    log.with_name(log.name + ".1" * put_aside).unlink()
    assert (answer.status_code, answer.getvalue().splitlines()[0]) == (200, b"started")


def test_the_log_of_the_release_in_the_merge_gate_is_served(client, artifact):
    log = app_instance.log_path(settings.OROBOROS, GATE)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("started\n")
    artifact.file.unlink()
    artifact.file.hardlink_to(log)
    answer = request_content(client, artifact)
    log.unlink()
    assert (answer.status_code, answer.getvalue()) == (200, b"started\n")


def test_a_symlink_hard_link_pipe_or_folder_returns_404(client, artifact, secret):
    for make in (
        lambda path: path.symlink_to(secret),
        lambda path: path.hardlink_to(secret),
        os.mkfifo,
        lambda path: path.mkdir(),
    ):
        artifact.file.unlink()
        make(artifact.file)
        answer = request_content(client, artifact)
        assert (answer.status_code, answer.json()["error"]) == (404, "artifact_not_found")
        if artifact.file.is_dir():
            artifact.file.rmdir()


def test_the_newest_generation_is_served_by_default(client, artifact):
    newer = ArtifactFactory(run=artifact.run, name=artifact.name, generation=2, path="newer")
    (artifacts_folder(settings.OROBOROS) / "newer").write_text("new")
    assert request_content(client, artifact).getvalue() == b"new"
    listed = client.get(f"/api/runs/{artifact.run.pk}/artifacts").json()["results"]
    assert [client.get(row["url"]).getvalue() for row in listed] == [b"0123456789", b"new"]
    assert newer.generation == listed[1]["generation"]
    wrong = client.get(f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}?generation=1x")
    assert wrong.status_code == 400


def test_a_log_is_read_by_pages_of_lines(client, artifact):
    artifact.file.write_text("".join(f"line {number}\n" for number in range(1, 51)))
    path = f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}"

    def read(query):
        answer = client.get(f"{path}?{query}")
        return answer.getvalue().decode().split("\n")[:-1], answer

    page, answer = read("line=10&lines=3")
    assert page == ["line 10", "line 11", "line 12"]
    assert answer["X-Oroboros-Line"] == "10"
    assert int(answer["X-Oroboros-Size"]) == artifact.file.stat().st_size
    assert read(f"from={answer['X-Oroboros-Next']}&lines=2")[0] == ["line 13", "line 14"]
    end, answer = read("line=-2&lines=1000")
    assert (end, answer["X-Oroboros-Line"]) == (["line 49", "line 50"], "49")
    assert answer["X-Oroboros-Next"] == answer["X-Oroboros-Size"]
    assert read("line=-1000")[1]["X-Oroboros-Line"] == "1"
    beyond, answer = read("line=51")
    assert (beyond, answer["X-Oroboros-Next"]) == ([], answer["X-Oroboros-Size"])
    assert client.get(f"{path}?grep=LINE 4").getvalue().splitlines()[:2] == [
        b"4:line 4",
        b"40:line 40",
    ]


def test_another_file_under_the_name_of_a_log_is_recognized(client, artifact):
    path = f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}?from=0"
    identity = client.get(path)["X-Oroboros-File"]
    with artifact.file.open("a") as file:
        file.write("more")
    assert client.get(path)["X-Oroboros-File"] == identity
    artifact.file.rename(artifact.file.with_name("old"))
    artifact.file.write_text("another")
    assert client.get(path)["X-Oroboros-File"] != identity


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("line=x", "line_invalid"),
        ("lines=0", "lines_invalid"),
        ("lines=99999", "lines_invalid"),
        (f"grep={'x' * 201}", "grep_invalid"),
    ],
)
def test_a_wrong_page_of_a_log_is_refused(client, artifact, query, error):
    answer = client.get(f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}?{query}")
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_a_search_does_not_find_masked_secrets(client, artifact):
    config = settings.OROBOROS
    variable = Variable("API_KEY", "sesame-4711-open", "worker-preview.env", secret=True)
    remember_secrets(config, "preview", ResolvedEnvironment((variable,)))
    artifact.file.write_text("the key is sesame-4711-open\n")
    path = f"/api/runs/{artifact.run.pk}/artifacts/{artifact.name}?grep="
    assert client.get(f"{path}sesame").getvalue() == b""
    assert client.get(f"{path}the key").getvalue() == b"1:the key is ****************\n"
