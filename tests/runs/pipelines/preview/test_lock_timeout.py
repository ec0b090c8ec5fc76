"""A `release:` that waits for a lock, in a preview."""

import pytest

from host.postgres import client_programs, lock_timeout
from tests.runs.pipelines.preview.conftest import TOML, WEB

# Its own second session holds the table that it changes.
RELEASE = """
psql() { PROGRAM -qAtX -v ON_ERROR_STOP=1 "$@"; }
psql -c 'CREATE TABLE IF NOT EXISTS note (id int)'
(echo 'BEGIN; LOCK TABLE note;'; sleep 60) | psql &
until psql -c "SELECT 'held' FROM pg_locks WHERE relation = 'note'::regclass" | grep -q held
do sleep 0.05; done
psql -c 'ALTER TABLE note ADD COLUMN text text'
"""


@pytest.mark.full
def test_a_previews_release_that_waits_for_a_lock_is_repeated_and_then_fails(place, monkeypatch):
    place.config.environ["RELEASE_LOCK_TIMEOUT_SECONDS"] = "1"
    monkeypatch.setattr(lock_timeout, "RETRIES", 1)
    monkeypatch.setattr(lock_timeout, "FIRST_PAUSE_SECONDS", 0.1)
    program = client_programs.find_pg_dumps()[0].with_name("psql")
    files = {
        "Procfile": f"{WEB}release: sh migrate.sh\n",
        "oroboros.toml": TOML,
        "migrate.sh": RELEASE.replace("PROGRAM", str(program)),
    }
    run = place.carry("try/locked", files)
    assert (run.status, run.failure_code) == ("failed", "MIGRATION_FAILED")
    assert "waited too long for a lock, 2 times" in run.failure_detail
    told = list(run.events.filter(kind="progress").values_list("text", flat=True))
    assert len(told) == 1
    assert told[0].startswith("`release:` waited too long for a lock; again in")
