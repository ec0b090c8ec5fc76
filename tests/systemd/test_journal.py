"""What the units leave in systemd's journal: nothing at rest, two lines of an outage, fields."""

import json
import time

import pytest

from tests.systemd.machine import wait_for

pytestmark = [pytest.mark.root, pytest.mark.full]

# The timers start their services every minute.
REST_SECONDS = 130
OUTAGE_SECONDS = 60
COUNT_TRACEBACKS = "grep -c Traceback var/log/queue.log || true"
POSTGRES = "$(systemctl list-units --plain --no-legend 'postgresql@*' | cut -d' ' -f1)"


def names_unit(entry):
    """Return whether the line is of a unit of ours, or systemd's about one or its user."""
    return "ouroboros" in " ".join(
        str(entry.get(name)) for name in ("_SYSTEMD_UNIT", "UNIT", "MESSAGE")
    )


class Journal:
    """The lines of all units of Oroboros from now on."""

    def __init__(self, host):
        self.host = host
        self.start = host.run("journalctl -q -n 1 -o json | tail -n 1").strip()
        self.cursor = json.loads(self.start)["__CURSOR"]

    def read(self, *matches):
        """Return the entries that have these fields, else those of or about our units."""
        selected = " ".join(matches)
        output = self.host.run(f"journalctl -q -o json --after-cursor '{self.cursor}' {selected}")
        entries = [json.loads(line) for line in output.splitlines()]
        return entries if matches else [entry for entry in entries if names_unit(entry)]

    def wait_for_event(self, event, match):
        """Wait for the entry of the event: it is sent after what the API shows is committed."""
        is_written = lambda: event in {one.get("OROBOROS_EVENT") for one in self.read(match)}  # noqa: E731
        wait_for(is_written, 60, f"{event} is not in the journal for {match}")

    def list_messages(self, *matches):
        return [str(entry["MESSAGE"]) for entry in self.read(*matches)]


def is_healthy(host):
    return host.run_unchecked("./scripts/runtime-health-check.sh").returncode == 0


def test_at_rest_nothing_is_written_to_the_journal(host):
    wait_for(lambda: is_healthy(host), 60, "not everything is healthy")
    journal = Journal(host)
    time.sleep(REST_SECONDS)
    assert journal.list_messages() == []


def test_the_fields_select_what_concerns_a_run_its_slot_and_its_release(host):
    journal = Journal(host)
    branch = f"feature/fields-{int(time.time())}"
    host.make_branch(branch, {"backend/note.txt": branch})
    run = host.make_run(branch)
    journal.wait_for_event("preview_ready", f"OROBOROS_RUN={run['id']}")
    of_slot = journal.read(f"OROBOROS_SLOT={run['slot_id']}")
    assert run["id"] in {entry.get("OROBOROS_RUN") for entry in of_slot}
    merged = host.ship(run)
    release = host.get(f"/api/runs/{merged['id']}")["release_id"]
    journal.wait_for_event("deployment_succeeded", f"OROBOROS_RELEASE={release}")
    # Each job, backend and release of it ended because we stopped it.
    assert [line for line in journal.list_messages() if "Failed with result" in line] == []


def test_an_outage_of_the_database_is_two_lines(host):
    wait_for(lambda: is_healthy(host), 60, "not everything is healthy")
    journal, tracebacks = Journal(host), host.run(COUNT_TRACEBACKS)
    unit = host.run(f"echo {POSTGRES}").strip()
    host.run(f"systemctl stop {unit}")
    for path in ("8000/health", "8000/api/slots", "8000/admin/login/", "8090/health"):
        host.run_unchecked(f"curl -s -m 5 http://127.0.0.1:{path}")
    time.sleep(OUTAGE_SECONDS)
    host.run(f"systemctl start {unit}")
    wait_for(lambda: is_healthy(host), 120, "not everything is healthy after the outage")
    has_ended = lambda: any("answers again" in one for one in journal.list_messages())  # noqa: E731
    wait_for(has_ended, 30, "the end of the outage is not in the journal")
    lines = journal.list_messages()
    assert len(lines) == 2, "\n".join(lines[:60])
    assert "does not answer" in lines[0] and "answers again" in lines[1]
    assert host.run(COUNT_TRACEBACKS) == tracebacks
