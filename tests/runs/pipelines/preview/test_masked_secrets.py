"""The secrets that a run was given are nowhere to be read, however its application prints them."""

import pytest
from django.test import Client

from accounts.tokens import create_token
from runs.engine.artifacts import artifacts_folder
from runs.models import Run
from tests.runs.pipelines.preview.conftest import TOML

SECRET = "sk_live_51HxYzWq9"
BUILD = """
import os, sys, time, json
key = os.environ["PAYMENT_KEY"]
print("whole", key, json.dumps({"key": key}), flush=True)
sys.stdout.write("half " + key[:7]); sys.stdout.flush(); time.sleep(0.2); print(key[7:])
print("database", os.environ["DATABASE_URL"], os.environ["OROBOROS_SECRET"])
"""
# It tells its secrets in its log, and then it fails.
SERVER = """
import os, sys
print("starts with", os.environ["PAYMENT_KEY"], os.environ["PGPASSWORD"], flush=True)
sys.exit("RuntimeError: cannot use " + os.environ["PAYMENT_KEY"])
"""


def list_texts(run, config, client):
    """Yield what people can read of the run: rows, files, answers."""
    yield from (run.failure_detail, run.next_action, str(run.notes))
    for event in run.events.all():
        yield f"{event.text} {event.data}"
    for step in run.steps.all():
        yield f"{step.detail} {step.result}"
    for path in ("", "/events", "/artifacts", "/diff"):
        yield client.get(f"/api/runs/{run.pk}{path}").content.decode()
    for artifact in run.artifacts.all():
        for query in ("", "?from=13", "?from=-40"):
            answer = client.get(f"/api/runs/{run.pk}/artifacts/{artifact.name}{query}")
            yield b"".join(answer.streaming_content).decode()
        # The backend itself writes to this file; it is masked where it is read.
        if artifact.name != "backend_log":
            yield (artifacts_folder(config) / artifact.path).read_text()


@pytest.mark.full
def test_secrets_of_a_run_are_masked_in_all_that_it_leaves(place):
    path = place.config.env_dir / "worker-preview.env"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"PAYMENT_KEY={SECRET}\n")
    path.chmod(0o600)
    files = {
        "Procfile": "web: python server.py\n",
        "oroboros.toml": TOML + 'build = "python build.py"\n',
        "server.py": SERVER,
        "build.py": BUILD,
    }
    run = Run.objects.get(pk=place.carry("try/secrets", files).pk)
    assert (run.status, run.failure_code) == ("failed", "BACKEND_UNHEALTHY")
    client = Client(
        headers={"authorization": f"Bearer {create_token('ci', ['view'], created_by='ada')}"}
    )
    texts = list(list_texts(run, place.config, client))
    assert not [text for text in texts if SECRET in text]
    assert not [text for text in texts if SECRET[7:] in text]
    log = place.artifact(run, "build_log")
    assert 'whole •••••••• {"key": "••••••••"}\nhalf ••••••••\n' in log
    # Masked in length, so that the offsets of a growing log stay.
    assert any("starts with *****************" in text for text in texts)
    assert "cannot use ••••••••" in run.failure_detail
