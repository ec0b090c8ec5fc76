"""A second server in a preview, in the merge gate and in production; it is told of when it dies."""

import json

import pytest

from host import http_client
from host.errors import Refused
from host.files.surface_folder import SurfaceFolder
from host.units import managers
from runs.models import Run
from runs.presenters import list_processes, select_runs
from slots.runtime import backend
from tests.runs.pipelines.shipping import tiny

# Answers with its name and what it knows of the other server; in production it may not start.
SITE = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("OROBOROS_PROCESS", "OROBOROS_COMMIT", "OROBOROS_SERVER_WEB", "API_URL")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([os.environ[name] for name in names]).encode())
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
FILES = {
    "site_server.py": SITE,
    "oroboros.toml": '[checks]\nquick = "true"\n'
    '[processes.site]\nrun = "python site_server.py"\nport = true\nhealth_path = "/up"\n'
    '[routes]\n"/*" = "site"\n[env]\nAPI_URL = "${OROBOROS_SERVER_WEB:-}/api"\n',
}
# Fails where the merge gate starts it, and nowhere else.
BROKEN = SITE.replace(
    "import http", "import os\nassert 'app-gates' not in os.environ['HOME'], 'no site'\nimport http"
)


@pytest.fixture
def second(small):
    """The small host; its main is the original application afterwards."""
    yield small
    small.commit("main", tiny.files(small.folder))


def ask(port):
    return json.loads(http_client.get(port, "/").body)


def test_a_second_server_is_started_in_the_preview_the_gate_and_production(
    second, ready_small, ships
):
    config, slot = second.config, second.config.slots[0]
    run = ready_small("site/first", FILES)
    name, commit, web, api = ask(slot.server_ports[0])
    assert (name, commit) == ("site", run.commit_sha)
    assert web == f"http://127.0.0.1:{slot.backend_port}"
    assert api == f"{web}/api"
    live = SurfaceFolder(slot.folder).read_current()
    assert [address for address, _ in live.routes.layers] == [
        f"127.0.0.1:{slot.backend_port}",
        f"127.0.0.1:{slot.server_ports[0]}",
    ]
    shown = list_processes(select_runs().get(pk=run.pk))
    assert [(one.name, one.state) for one in shown] == [("web", "running"), ("site", "running")]
    with pytest.raises(Refused, match="it has web, site"):
        backend.restart(config, slot, "worker")

    shipped = ships("site/second", FILES)
    assert shipped.status == "merged", shipped.failure_detail
    assert ask(config.server_ports["blue"][0])[:2] == ["site", shipped.candidate_sha]
    names = managers.get_manager(config).list_names()
    assert "ouroboros-app@blue.1" in names and "ouroboros-app@gate.1" not in names


@pytest.mark.full
def test_a_second_server_that_does_not_start_fails_the_merge_gate(second, ships):
    run = ships("site/broken", FILES | {"site_server.py": BROKEN})
    assert (run.status, run.failure_code) == ("failed", "START_FAILED")
    assert "no site" in run.failure_detail
    names = managers.get_manager(second.config).list_names()
    assert not [name for name in names if "@gate" in name]
    assert Run.objects.get(pk=run.pk).candidate_sha != second.remote_main()
