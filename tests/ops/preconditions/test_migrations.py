"""What the control plane's database lacks is found before anything is started or stopped."""

import os
import time

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from host import config as configuration
from host.errors import Refused
from host.units.control_units import API
from host.units.local_manager import LocalManager
from host.units.unit import Unit
from ops import stack
from ops.installed import apply_settings
from ops.preconditions import migrations
from tests.environment import CLUSTER, free_port

NAME = "not_migrated"


@pytest.fixture
def config():
    """A configuration whose database is new."""
    CLUSTER.execute([f"CREATE DATABASE {NAME}"])
    yield configuration.load({"DATABASE_URL": CLUSTER.url(NAME)})
    CLUSTER.execute([f"DROP DATABASE {NAME} WITH (FORCE)"])


def apply(names):
    rows = ", ".join(
        f"('{app}', '{name}')" for app, _, name in (one.partition(".") for one in names)
    )
    CLUSTER.execute(
        [
            "CREATE TABLE IF NOT EXISTS django_migrations (app text, name text)",
            f"INSERT INTO django_migrations VALUES {rows}",
        ],
        NAME,
    )


def test_the_migrations_are_those_that_django_finds():
    ours = {one.label for one in apps.get_app_configs() if "site-packages" not in one.path}
    loader = MigrationLoader(None)
    found = {f"{app}.{name}" for app, name in loader.disk_migrations if app in ours}
    assert set(migrations.list_migrations(configuration.HOME)) == found != set()


def test_what_is_not_applied_is_missing_and_what_is_not_known_is_not(config):
    everything = migrations.list_migrations(configuration.HOME)
    assert migrations.find_missing_migrations(config) == sorted(everything)
    apply([*everything, "runs.9999_of_a_later_version", "auth.0001_initial"])
    assert migrations.find_missing_migrations(config) == []
    CLUSTER.execute(["DELETE FROM django_migrations WHERE name = '0001_initial'"], NAME)
    assert "runs.0001_initial" in migrations.find_missing_migrations(config)


def test_a_stack_whose_database_is_older_is_not_started(config, monkeypatch):
    monkeypatch.setattr(stack, "start_unit", lambda config, unit: pytest.fail(unit.name))
    monkeypatch.setattr(stack.Cluster, "is_running", lambda cluster: True)
    with pytest.raises(Refused, match=r"runs\.0001_initial.*quickstart\.sh") as refused:
        stack.start_all(config, {})
    assert refused.value.code == "not_migrated"


@pytest.fixture
def running(tmp_path, config):
    """The configuration, and the manager of an API that runs with an earlier env file."""
    folders = {"OROBOROS_VAR": str(tmp_path / "var"), "OROBOROS_ENV_DIR": str(tmp_path)}
    config = configuration.load({"DATABASE_URL": config.database_url, **folders})
    manager = LocalManager(config)
    log = config.var / "api.log"
    manager.start(Unit(API, ("sleep", "300"), tmp_path, {"PATH": os.defpath}, None, log, None))
    (tmp_path / "api.env").touch()
    later = time.time() + 60
    os.utime(tmp_path / "api.env", (later, later))
    yield config, manager
    manager.stop(API, 5)


def test_settings_that_could_not_be_applied_stop_nothing(running, monkeypatch):
    config, manager = running
    monkeypatch.setattr(stack, "start_all", lambda config, environ: "started")
    before = manager.status(API)
    said = apply_settings.apply_settings(config, {}, dry_run=True)
    assert (before.is_active, said.startswith("1 units differ")) == (True, True)
    with pytest.raises(Refused, match="quickstart") as refused:
        apply_settings.apply_settings(config, {}, dry_run=False)
    assert refused.value.code == "not_migrated"
    assert manager.status(API).pid == before.pid
    apply(migrations.list_migrations(configuration.HOME))
    assert apply_settings.apply_settings(config, {}, dry_run=False) == "started"
    assert not manager.status(API).is_active


def test_without_the_database_no_unit_is_restarted():
    url = f"postgresql://oroboros:secret@127.0.0.1:{free_port()}/oroboros"
    with pytest.raises(Refused, match=r"nothing was changed.*refused") as refused:
        apply_settings.require_database(configuration.load({"DATABASE_URL": url}))
    assert refused.value.code == "database_unavailable"
