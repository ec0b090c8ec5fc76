"""The probe of a preview uses the host name that the application was given."""

import dataclasses
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from host import config
from host.app import environment
from runs.pipelines import preview, preview_answer

RUN = SimpleNamespace(pk="7", commit_sha="c" * 40, label="feature-x-1a2b3c")
HTTPS = {"OROBOROS_HTTPS": "true", "OROBOROS_DOMAIN": "shop.example"}


@pytest.fixture
def strict():
    """A server that answers only by the names in its list, as Django's ALLOWED_HOSTS has it."""

    class Strict(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.headers["Host"].partition(":")[0]
            self.send_response(200 if name in self.server.names else 500)
            self.send_header("X-Oroboros-Run", RUN.pk)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Strict)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("environ", [{}, HTTPS], ids=["plain", "behind https"])
def test_a_preview_that_answers_only_to_its_host_name_is_probed_by_it(strict, environ, monkeypatch):
    conf = config.load(environ)
    slot = dataclasses.replace(conf.slots[0], web_port=strict.server_port)
    conf = dataclasses.replace(conf, slots=(slot,))
    told = environment.build_slot_variables(
        conf, slot, database_url="", run_id=RUN.pk, commit=RUN.commit_sha, label=RUN.label
    )
    strict.names = told["OROBOROS_HOSTS"].split(",")[:1]
    monkeypatch.setattr(preview_answer, "PROBE_TIMEOUT_SECONDS", 60.0)
    context = SimpleNamespace(
        config=conf,
        run=RUN,
        results={"lease": {"slot_id": slot.slot_id}},
        is_stopping=lambda: False,
        raise_if_stopping=lambda: None,
    )
    assert preview.probe_answer(context) == {"status": 200}


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_a_backend_on_all_interfaces_is_noted_on_its_run(place, address):
    web = f"web: python -m http.server --bind {address} $PORT\n"
    run = place.preview(f"try/{address}", {"Procfile": web})
    addresses = f"({address}:{place.slot.backend_port})"
    notes = [note["text"] for note in run.notes if "all interfaces" in note["text"]]
    assert [addresses in note for note in notes] == ([True] if address == "0.0.0.0" else [])
