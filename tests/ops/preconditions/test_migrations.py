"""What the control plane's database lacks is found before anything is started."""

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from host import config as configuration
from host.errors import Refused
from ops import stack
from ops.preconditions import migrations
from tests.environment import CLUSTER

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
