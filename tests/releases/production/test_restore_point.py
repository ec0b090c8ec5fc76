"""Restore points of the production database."""

from pathlib import Path

import psycopg
import pytest

from host.errors import Refused
from host.postgres import client_programs
from releases.deployments import deploy_and_rollback
from releases.models import Release
from releases.production.database import ensure_production_database, production_database_url
from releases.production.restore_point import RestorePointFailed, restore_database
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    subprocess_environment,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_deploy_with_migrations_leaves_a_restore_point_that_restores(config, repo, web):
    first = deploy(config, repo.commit("one"))
    with psycopg.connect(production_database_url(config)) as link:
        link.execute("INSERT INTO note (text) VALUES ('kept')")
    drop = "ALTER TABLE note DROP COLUMN IF EXISTS text;\nCREATE TABLE IF NOT EXISTS b (x int);\n"
    second = deploy(config, repo.commit("two", **{"backend/migrations/0002_drop.sql": drop}))
    second.refresh_from_db()
    assert second.migrations == ["backend/migrations/0002_drop.sql"]
    assert any(change["kind"] == "drops" for change in second.schema_changes)
    assert (config.var / second.restore_point).stat().st_mode & 0o777 == 0o600
    assert second.restore_command == f"./scripts/release-registry.sh restore {second.pk}"

    with pytest.raises(Refused) as refusal:
        deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="a try")
    assert refusal.value.code == "rollback_blocked_by_migration"
    assert f"rollback.sh {first.pk} --accept-schema" in refusal.value.detail
    assert_consistent(config, second, web)

    deploy_and_rollback.roll_back(
        config, first.pk, actor="bob", reason="accepted", accept_schema=True
    )
    restore_database(config, second)
    with psycopg.connect(production_database_url(config)) as link:
        assert link.execute("SELECT text FROM note").fetchall() == [("kept",)]
        assert link.execute("SELECT to_regclass('b')").fetchone() == (None,)
    assert_consistent(config, Release.objects.get(pk=first.pk), web)


@pytest.mark.parametrize(
    ("installed", "found"), [([99, 98, 1], 98), ([99, 1], 99), ([2, 1], None), ([], None)]
)
def test_oldest_pg_dump_that_is_as_new_as_the_server_is_used(installed, found, monkeypatch):
    programs = {Path(f"/pg/{version}/bin/pg_dump"): version for version in installed}
    monkeypatch.setattr(client_programs, "find_pg_dumps", lambda: tuple(programs))
    monkeypatch.setattr(client_programs, "read_version", programs.get)
    url = subprocess_environment()["DATABASE_URL"]
    if found is None:
        with pytest.raises(Refused) as refusal:
            client_programs.find_pg_dump(url)
        assert refusal.value.code == "pg_dump_missing"
    else:
        assert programs[client_programs.find_pg_dump(url)] == found


def test_failed_restore_raises_with_the_programs_message(config):
    ensure_production_database(config)
    release = Release(release_id="r-20261124120000-abcdef012345", restore_point="restore/1.dump")
    (config.var / "restore").mkdir()
    (config.var / "restore" / "1.dump").write_text("not a dump")
    with pytest.raises(RestorePointFailed, match="Nothing was restored: pg_restore: error"):
        restore_database(config, release)
    assert not (config.var / "restore" / "1.sql").exists()
