"""The `release:` command on production, and the schema changes that it makes."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from host.deadline import wait_until
from host.postgres import lock_timeout
from host.units.health import Health
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Release
from releases.production import colours, database
from releases.rules import ReleaseStatus
from tests.releases import killed_process
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    expire_claims,
    run_and_kill,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.full
def test_a_release_command_that_writes_in_its_tree_is_named(config, repo, web):
    with pytest.raises(DeploymentFailed, match="It writes backend/made in its own tree"):
        deploy(config, repo.commit("one", **{"backend/migrate.sh": "touch ./made\n"}))


def test_failed_release_command_fails_the_release_and_switches_nothing(config, repo, web):
    first = deploy(config, repo.commit("one"))
    bad = {"backend/migrations/0002_bad.sql": "ALTER TABLE nothing ADD x int;\n"}
    with pytest.raises(DeploymentFailed, match="`release:` on production") as failed:
        deploy(config, repo.commit("two", **bad))
    release = Release.objects.get(commit_sha=repo.head)
    assert (release.status, release.migrated_at) == (ReleaseStatus.FAILED, None)
    assert release.restore_command in failed.value.guidance
    assert_consistent(config, first, web)


def test_schema_changes_are_recorded_though_the_colour_never_starts(config, repo, web):
    first = deploy(config, repo.commit("one"))
    more = {
        "backend/migrations/0002_more.sql": "CREATE TABLE IF NOT EXISTS more (x int);\n",
        "backend/server.py": "raise SystemExit(3)\n",
    }
    with pytest.raises(DeploymentFailed):
        deploy(config, repo.commit("two", **more))
    release = Release.objects.get(commit_sha=repo.head)
    assert release.migrated_at is not None
    assert [change["kind"] for change in release.schema_changes] == ["adds"]
    assert not list((config.var / "restore").glob("*.schema.json"))
    assert_consistent(config, first, web)


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("releases.production.migration:_run_release_command", "after"),
        ("releases.models:Release.record_schema_changes", "before"),
        ("releases.models:Release.record_schema_changes", "after"),
    ],
)
def test_schema_changes_of_an_attempt_that_was_killed_are_recorded(point, when, config, repo, web):
    deploy(config, repo.commit("one"))
    drop = "ALTER TABLE note DROP COLUMN IF EXISTS text;\n"
    commit = repo.commit("two", **{"backend/migrations/0002_drop.sql": drop})
    run_and_kill(point, when, "deploy", commit)
    assert len(list((config.var / "restore").glob("*.schema.json"))) == 1
    expire_claims()
    killed_process.deploy(config, commit)
    release = Release.objects.get(commit_sha=commit)
    assert release.schema_changes == [{"kind": "drops", "text": "drops column public.note.text"}]
    assert not list((config.var / "restore").glob("*.schema.json"))
    assert_consistent(config, release, web)


ALTER = {"backend/migrations/0002_more.sql": "ALTER TABLE note ADD COLUMN IF NOT EXISTS x int;\n"}


@contextmanager
def held_table(config):
    """Hold the table `note` of production, as a report does that runs for long."""
    with psycopg.connect(database.production_database_url(config)) as connection:
        connection.execute("SELECT count(*) FROM note")
        yield connection


def test_release_command_that_waits_for_a_lock_lets_readers_through_and_is_repeated(
    config, repo, web, monkeypatch
):
    config.environ["RELEASE_LOCK_TIMEOUT_SECONDS"] = "1"
    deploy(config, repo.commit("one"))
    pauses = []
    with held_table(config) as holder:

        def end_the_report(seconds, stop):
            pauses.append(seconds)
            holder.rollback()

        monkeypatch.setattr(lock_timeout, "pause", end_the_report)
        # As a driver that knows no PGOPTIONS, and one that forgets the role that it acts as.
        forgetful = {"backend/migrations/0003_all.sql": "DISCARD ALL; CREATE TABLE kept (x int);\n"}
        bare = {"backend/migrate.sh": "unset PGOPTIONS\n" + repo.files["backend/migrate.sh"]}
        second = deploy(config, repo.commit("two", **ALTER, **forgetful, **bare))
    assert pauses == [lock_timeout.FIRST_PAUSE_SECONDS]
    assert {change["kind"] for change in second.schema_changes} == {"adds"}
    with psycopg.connect(database.production_database_url(config)) as session:
        session.execute("ALTER TABLE kept ADD COLUMN y int")
        assert session.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_a_lock_that_stays_fails_the_release_and_names_who_holds_it(config, repo, web, monkeypatch):
    config.environ["RELEASE_LOCK_TIMEOUT_SECONDS"] = "1"
    monkeypatch.setattr(lock_timeout, "RETRIES", 1)
    monkeypatch.setattr(lock_timeout, "FIRST_PAUSE_SECONDS", 0.1)
    deploy(config, repo.commit("one"))
    with held_table(config) as holder:
        pid = holder.info.backend_pid
        with pytest.raises(DeploymentFailed) as failed:
            deploy(config, repo.commit("two", **ALTER))
    assert "waited too long for a lock, 2 times" in failed.value.detail
    assert f"process {pid}: SELECT count(*) FROM note" in failed.value.detail


def test_a_start_that_waits_for_a_lock_in_a_migration_of_its_own_is_explained(
    config, repo, web, monkeypatch
):
    deploy(config, repo.commit("one"))
    start = {"Procfile": "web: sh start.sh\n", "backend/start.sh": "sh migrate.sh; sleep 600\n"}

    def is_waiting():
        with psycopg.connect(database.production_database_url(config)) as session:
            query = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
            return session.execute(query, [config.production_database]).fetchone()

    def wait_until_it_waits(manager, unit, seconds, stop):
        assert wait_until(is_waiting, seconds=60)
        return Health(False, f"It does not listen on port {unit.port}.")

    with held_table(config) as holder, monkeypatch.context() as late:
        late.setattr(colours, "wait_until_healthy", wait_until_it_waits)
        pid = holder.info.backend_pid
        with pytest.raises(DeploymentFailed, match="waits for a lock") as failed:
            deploy(config, repo.commit("two", **ALTER, **start))
    detail = failed.value.detail
    assert "wait behind it: ALTER TABLE note ADD COLUMN" in detail
    assert "belongs into `release:`" in detail
    assert f"process {pid}: SELECT count(*) FROM note" in detail


def test_a_reader_is_not_held_up_by_a_migration_that_web_makes_when_it_starts(config, repo, web):
    config.environ["RELEASE_LOCK_TIMEOUT_SECONDS"] = "1"
    config.environ["DEPLOY_START_SECONDS"] = "600"
    deploy(config, repo.commit("one"))
    start = {"Procfile": "web: sh start.sh\n", "backend/start.sh": "sh migrate.sh; sleep 600\n"}
    with held_table(config) as holder, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_behind_a_waiting_migration, config)
        with pytest.raises(DeploymentFailed, match="waits for a lock") as failed:
            deploy(config, repo.commit("two", **ALTER, **start))
        assert reading.result(180) < 60
        assert holder.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    assert "wait behind it: ALTER TABLE note ADD COLUMN" in failed.value.detail


def test_a_reader_is_not_held_up_until_the_lock_is_free(config, repo, web, monkeypatch):
    """The reader comes through while the report that the migration waits for still runs."""
    # Time enough for the reader to see that the migration waits.
    config.environ["RELEASE_LOCK_TIMEOUT_SECONDS"] = "3"
    monkeypatch.setattr(lock_timeout, "RETRIES", 0)
    deploy(config, repo.commit("one"))
    with held_table(config) as holder, ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_behind_a_waiting_migration, config)
        with pytest.raises(DeploymentFailed, match="waited too long for a lock"):
            deploy(config, repo.commit("two", **ALTER))
        assert reading.result(180) < 60
        assert holder.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def read_behind_a_waiting_migration(config):
    """Read the table `note` once a session waits to change it; return how long that took."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE NOT granted AND mode = 'AccessExclusiveLock' AND datname = current_database()"
    )
    with psycopg.connect(database.production_database_url(config), autocommit=True) as session:
        session.execute("SET statement_timeout = '60s'")
        wait_until(lambda: session.execute(waiting).fetchone() != (0,), seconds=60, interval=0.01)
        begun = time.monotonic()
        session.execute("SELECT count(*) FROM note")
        return time.monotonic() - begun
