"""Storage: uploads outlive releases and rollbacks, and no preview sees production's."""

import json

import pytest
import requests

from releases.builds.build_folders import production_storage
from releases.deployments import deploy_and_rollback
from runs.lifecycle import execution, operations
from runs.models import Run
from tests.runs.pipelines.shipping import tiny

# GET lists the files of the folder in the tree; POST writes the one that the path names.
SERVER = """\
import http.server
import json
import os

MEDIA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "media")
assert os.path.realpath(MEDIA) == os.path.realpath(os.environ["OROBOROS_STORAGE_MEDIA"])
open(os.path.join(MEDIA, "started-" + os.environ["OROBOROS_COMMIT"]), "w").close()
# What an earlier release left is there in the gate too.
if os.path.exists(os.path.join(os.environ["HOME"], "has-upload")):
    assert os.path.exists(os.path.join(MEDIA, "upload.txt"))


class Uploads(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(sorted(os.listdir(MEDIA))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        open(os.path.join(MEDIA, os.path.basename(self.path)), "w").close()
        self.do_GET()


http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Uploads).serve_forever()
"""
SEED = (
    'import os\nopen(os.path.join(os.environ["OROBOROS_STORAGE_MEDIA"], "seeded"), "w").close()\n'
)
TOML = '[checks]\nquick = "true"\n[database]\nseed = "python seed.py"\n[storage]\nmedia = "media"\n'
FILES = {"server.py": SERVER, "seed.py": SEED, "oroboros.toml": TOML, "media/.gitkeep": ""}


def list_files(port, path=""):
    """Return the uploads behind a port, after writing the file `path`."""
    url = f"http://127.0.0.1:{port}/{path}"
    answer = requests.request("POST" if path else "GET", url, timeout=60)
    return [name for name in json.loads(answer.text) if not name.startswith("started-")]


@pytest.fixture
def storing(small):
    """The host whose main has storage and seeds it."""
    small.commit("main", FILES)
    yield small
    small.commit("main", {**tiny.files(small.folder), "seed.py": None, "media/.gitkeep": None})


@pytest.mark.full
def test_an_upload_outlives_a_deployment_and_a_rollback_and_is_in_no_preview(
    storing, ships, ready_small
):
    config = storing.config
    first = ships("storage/first")
    assert first.status == "merged", first.failure_detail
    # The gate's start wrote a file too, into a copy.
    assert list_files(config.web_port, "upload.txt") == ["upload.txt"]
    [started] = production_storage(config).glob("media/started-*")
    assert started.name.endswith(first.candidate_sha)
    mark = config.var / "app/has-upload"
    mark.touch()
    ready = ready_small("storage/second")
    slot = config.slot("preview-1")
    assert list_files(slot.backend_port, "of-the-preview.txt") == ["of-the-preview.txt", "seeded"]
    operations.approve(ready, actor="grace")
    execution.execute_run(ready.pk)
    assert Run.objects.get(pk=ready.pk).status == "merged"
    mark.unlink()
    assert not (slot.folder / "storage").exists()
    assert list_files(config.web_port) == ["upload.txt"]
    deploy_and_rollback.roll_back(config, first.release_id, actor="grace", reason="a test")
    assert list_files(config.web_port) == ["upload.txt"]


def test_storage_that_would_hide_tracked_files_fails_the_run(storing):
    storing.commit("storage/hides", {"media/logo.svg": "<svg/>"})
    run = operations.create_run(title="hides", branch="storage/hides", actor="ada")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "MANIFEST_INVALID")
    assert "git tracks media/logo.svg" in run.failure_detail
