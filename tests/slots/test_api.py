"""The logs of the processes in a slot: which there are, and their text."""

import pytest
from django.conf import settings
from django.test import Client

from accounts.tokens import create_token
from slots.runtime import backend_log
from web.permissions import RunLimits

pytestmark = pytest.mark.django_db


@pytest.fixture
def client():
    token = create_token("reader", ["view"], created_by="tests")
    return Client(headers={"authorization": f"Bearer {token}"})


@pytest.fixture
def folder():
    """The folder of the slots' logs; what the test writes there is removed."""
    config = settings.OROBOROS
    found = backend_log.path(config, config.slots[0]).parent
    found.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    yield found
    for path in set(found.iterdir()) - before:
        path.unlink()


def test_the_logs_of_each_process_of_a_slot_are_listed_and_served(client, folder):
    for name in ("preview-1.log", "preview-1.worker.2.log", "preview-1.log.1", "preview-2.log"):
        (folder / name).write_text(f"of {name}\n")
    (folder / "preview-1.old.log.1").write_text("before\n")
    (folder / "preview-1.link.log").symlink_to("/etc/passwd")
    listed = client.get("/api/slots/preview-1/logs").json()
    names = [log["name"] for log in listed]
    assert names == ["web", "previous:web", "worker.2", "previous:old"]
    assert listed[0]["size"] == len("of preview-1.log\n")
    texts = [client.get(f"/api/slots/preview-1/logs/{name}").getvalue() for name in names]
    assert b"".join(texts) == (
        b"of preview-1.log\nof preview-1.log.1\nof preview-1.worker.2.log\nbefore\n"
    )


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("preview-1/logs/nothing", "log_not_found"),
        ("preview-1/logs/link", "log_not_found"),
        ("preview-1/logs/..", "log_not_found"),
        ("preview-60/logs/web", "slot_unknown"),
    ],
)
def test_what_is_no_log_of_the_slot_returns_404(client, folder, address, error):
    (folder / "preview-1.link.log").symlink_to("/etc/passwd")
    answer = client.get(f"/api/slots/{address}")
    assert (answer.status_code, answer.json()["error"]) == (404, error)


def test_a_token_limited_to_some_runs_reads_no_log_of_a_slot(folder):
    limits = RunLimits(branches=("feature/a",))
    token = create_token("reader", ["view"], created_by="tests", limits=limits)
    limited = Client(headers={"authorization": f"Bearer {token}"})
    (folder / "preview-1.log").write_text("of another run\n")
    for address in ("logs", "logs/web"):
        answer = limited.get(f"/api/slots/preview-1/{address}")
        assert (answer.status_code, answer.json()["error"]) == (403, "token_limited")
