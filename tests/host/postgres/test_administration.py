"""Databases and roles on the session's own PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest

from host.errors import Refused
from host.postgres import administration, databases, guard, server
from host.postgres.guard import Target
from tests import environment

TEMPLATE = "app_template_0123456789ab"
SPARE = "app_spare_0123456789ab"
OLD_SPARE = "app_spare_ffffffffffff"
GATE = "app_gate_1"


@pytest.fixture
def admin(config):
    admin = administration.DatabaseAdmin(config)
    yield admin
    for name in ("app_preview_1", "app_preview_2", GATE, TEMPLATE, SPARE, OLD_SPARE):
        admin.drop(name)


@pytest.fixture
def target(config, slot):
    return guard.resolve_target(config, slot)


def connect(url):
    return psycopg.connect(url, autocommit=True, connect_timeout=60)


def url_of(admin, name, role, password):
    server = urlsplit(admin.config.preview_admin_database_url)
    return guard.application_url(
        Target("postgresql", server.hostname, server.port, name), role, password
    )


def create_slot_database(admin, name):
    """Create the database of a slot and return its URL."""
    password = admin.ensure_role(name)
    admin.create(name, name)
    return url_of(admin, name, name, password)


def test_slot_role_owns_its_objects_and_cannot_drop_or_open_its_database(admin):
    with connect(create_slot_database(admin, "app_preview_1")) as session:
        session.execute("CREATE TABLE entry (id bigint PRIMARY KEY)")
        session.execute("CREATE SCHEMA extra")
        session.execute("GRANT CONNECT ON DATABASE app_preview_1 TO PUBLIC")  # only a warning
        public = "SELECT has_database_privilege('public', 'app_preview_1', 'CONNECT')"
        assert session.execute(public).fetchone() == (False,)
        for statement in (
            "ALTER DATABASE app_preview_1 SET search_path = evil",
            "ALTER ROLE app_preview_1 CREATEDB",
            "CREATE ROLE evil",
            "SET ROLE oroboros_admin",
            "COPY entry FROM PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(statement)
    assert admin.is_ready("app_preview_1", "app_preview_1")


def test_slot_role_cannot_connect_to_another_database(admin, config):
    server = {"postgres": ["oroboros_admin"], "template1": [], "oroboros": ["oroboros"]}
    environment.CLUSTER.close_to_public(server)
    environment.CLUSTER.close_to_public(server)
    password = admin.ensure_role("app_preview_1")
    admin.create("app_preview_1", "app_preview_1")
    create_slot_database(admin, "app_preview_2")
    for name in ("postgres", "template1", "oroboros", "app_preview_2"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(url_of(admin, name, "app_preview_1", password))
    connect(url_of(admin, "app_preview_1", "app_preview_1", password)).close()


def test_the_number_of_a_previews_connections_is_a_setting(admin):
    def read_limit():
        admin.ensure_role("app_preview_1")
        with admin.connection() as connection:
            query = "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'app_preview_1'"
            return connection.execute(query).fetchone()[0]

    assert read_limit() == 30
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(admin.config.environ, "PREVIEW_DATABASE_CONNECTIONS", "45")
        assert read_limit() == 45


def test_ensure_role_replaces_the_password_and_resets_settings(admin):
    old = create_slot_database(admin, "app_preview_1")
    with connect(old) as session:
        session.execute("ALTER ROLE app_preview_1 SET default_transaction_read_only = on")
    new = create_slot_database(admin, "app_preview_1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(old)
    with connect(new) as session:
        session.execute("CREATE TABLE entry (id bigint)")


def create_template(admin):
    password = admin.ensure_role(TEMPLATE)
    admin.create(TEMPLATE, TEMPLATE)
    with connect(url_of(admin, TEMPLATE, TEMPLATE, password)) as session:
        session.execute("CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY, text text)")
        session.execute("INSERT INTO entry (text) VALUES ('from main')")
        session.execute("CREATE TYPE mood AS ENUM ('good')")
        session.execute("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert not admin.has_template(TEMPLATE)
    admin.seal_template(TEMPLATE)
    admin.seal_template(TEMPLATE)
    assert admin.has_template(TEMPLATE)
    return url_of(admin, TEMPLATE, TEMPLATE, password)


def test_clone_belongs_to_its_role_and_leaves_the_template_unchanged(admin):
    sealed = create_template(admin)
    with pytest.raises(psycopg.OperationalError):
        connect(sealed)
    for name in ("app_preview_1", "app_preview_2"):
        password = admin.ensure_role(name)
        admin.clone(TEMPLATE, name, name)
        with connect(url_of(admin, name, name, password)) as session:
            assert session.execute("SELECT text FROM entry").fetchall() == [("from main",)]
            session.execute("ALTER TABLE entry ADD COLUMN reaction text")
            session.execute("ALTER TYPE mood ADD VALUE 'better'")
            session.execute("DROP FUNCTION one()")
            owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
            assert session.execute(owners).fetchall() == [(name,)]


def test_nested_connections_share_one(admin):
    with admin.connection() as outer:
        with admin.connection() as inner, admin.connection("postgres") as another:
            assert inner is outer
            assert another is not outer
        assert outer.execute("SELECT 1").fetchone() == (1,)
    with admin.connection() as later:
        assert later is not outer


def test_repeated_clone_replaces_the_database_and_ends_its_sessions(admin):
    create_template(admin)
    password = admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    url = url_of(admin, "app_preview_1", "app_preview_1", password)
    with connect(url) as session:
        session.execute("DELETE FROM entry")
        admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    with connect(url) as session:
        assert session.execute("SELECT count(*) FROM entry").fetchone() == (1,)


def test_incomplete_clone_is_not_ready(admin):
    create_template(admin)
    admin.ensure_role("app_preview_1")
    admin._create_from("app_preview_1", TEMPLATE)
    assert admin.exists("app_preview_1")
    assert not admin.is_ready("app_preview_1", "app_preview_1")


def oid(admin, name):
    with admin.connection() as connection:
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", [name])
        return row.fetchone()


def test_spare_copy_becomes_the_next_clone_only(admin):
    create_template(admin)
    assert admin.ensure_spare(TEMPLATE)
    assert not admin.ensure_spare(TEMPLATE)
    spare = oid(admin, SPARE)
    password = admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    assert oid(admin, "app_preview_1") == spare
    assert not admin.exists(SPARE)
    with connect(url_of(admin, "app_preview_1", "app_preview_1", password)) as session:
        session.execute("ALTER TABLE entry ADD COLUMN reaction text")
        assert session.execute("SELECT text FROM entry").fetchall() == [("from main",)]
    admin.ensure_role("app_preview_2")
    admin.clone(TEMPLATE, "app_preview_2", "app_preview_2")
    assert oid(admin, "app_preview_2") != spare
    assert admin.ensure_spare(TEMPLATE)


def test_no_slot_role_can_connect_to_a_spare_copy(admin):
    create_template(admin)
    admin.ensure_spare(TEMPLATE)
    password = admin.ensure_role("app_preview_1")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(url_of(admin, SPARE, "app_preview_1", password))


def test_incomplete_spare_copy_is_not_taken_and_is_made_again(admin):
    create_template(admin)
    admin._create_from(SPARE, TEMPLATE)
    with admin.connection() as connection:
        connection.execute(f"ALTER DATABASE {SPARE} ALLOW_CONNECTIONS false")
    half = oid(admin, SPARE)
    admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    assert oid(admin, "app_preview_1") != half
    assert admin.ensure_spare(TEMPLATE)
    assert oid(admin, SPARE) != half


def test_ensure_spare_drops_other_copies_and_needs_a_sealed_template(admin):
    admin.ensure_role(TEMPLATE)
    admin.create(TEMPLATE, TEMPLATE)
    admin._create_from(OLD_SPARE, "template0")
    assert not admin.ensure_spare(TEMPLATE)
    assert not admin.exists(OLD_SPARE)
    assert not admin.exists(SPARE)


def test_one_of_two_concurrent_clones_gets_the_spare_copy(admin):
    create_template(admin)
    admin.ensure_spare(TEMPLATE)
    spare, names = oid(admin, SPARE), ("app_preview_1", "app_preview_2")
    for name in names:
        admin.ensure_role(name)
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda name: admin.clone(TEMPLATE, name, name), names))
    assert [oid(admin, name) for name in names].count(spare) == 1
    assert all(admin.is_ready(name, name) for name in names)


def test_concurrent_clones_of_one_database_are_serialized(admin):
    create_template(admin)
    admin.ensure_role("app_preview_1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: admin.clone(TEMPLATE, name, name), ["app_preview_1"] * 4))
    assert admin.is_ready("app_preview_1", "app_preview_1")


def test_unsealed_template_is_not_cloned(admin):
    admin.ensure_role(TEMPLATE)
    admin.create(TEMPLATE, TEMPLATE)
    with pytest.raises(Refused) as refusal:
        admin.clone(TEMPLATE, GATE, GATE)
    assert refusal.value.code == "template_missing"


def test_end_sessions_ends_all_and_drop_may_be_repeated(admin):
    with connect(create_slot_database(admin, "app_preview_1")) as session:
        assert admin.end_sessions("app_preview_1")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    admin.drop("app_preview_1")
    admin.drop("app_preview_1")
    assert not admin.exists("app_preview_1")
    assert "app_preview_1" not in admin.list_pipeline_databases()


@pytest.mark.parametrize("name", ["oroboros", "postgres", "template1", "app_production", "x"])
def test_databases_outside_the_pipeline_are_refused(admin, name):
    create_template(admin)
    for act in (
        lambda: admin.create(name, "app_preview_1"),
        lambda: admin.clone(TEMPLATE, name, "app_preview_1"),
        lambda: admin.drop(name),
        lambda: admin.end_sessions(name),
        lambda: admin.seal_template(name),
        lambda: administration.DatabaseAdmin(admin.config, production=True).drop(name),
    ):
        with pytest.raises(Refused) as refusal:
            act()
        assert refusal.value.code == "unsafe_database_target"
    with pytest.raises(Refused):
        admin.ensure_role(name if name != "app_production" else "oroboros")
    with pytest.raises(Refused):
        admin.create("app_preview_1", "oroboros")


def test_production_database_is_kept_when_created_again(config):
    production = administration.DatabaseAdmin(config, production=True)
    name = config.production_database
    password = production.ensure_role(name, "the-same-one")
    production.create(name, name)
    url = url_of(production, name, name, password)
    with connect(url) as session:
        session.execute("CREATE TABLE IF NOT EXISTS customer (id bigint)")
    assert production.ensure_role(name, password) == password
    production.create(name, name)
    with connect(url) as session:
        assert session.execute("SELECT count(*) FROM customer").fetchone() == (0,)


def test_check_target_accepts_the_slots_own_database(admin, config, target):
    url = create_slot_database(admin, "app_preview_1")
    password = urlsplit(url).password
    admin.check_target(target, "app_preview_1", password)
    found = server.identify_database(url)
    assert (found.name, found.role) == ("app_preview_1", "app_preview_1")


def test_target_that_is_the_control_plane_is_refused(admin, config, target):
    url = create_slot_database(admin, "app_preview_1")
    control = administration.DatabaseAdmin(replace(config, database_url=url))
    with pytest.raises(Refused) as refusal:
        control.check_target(target, "app_preview_1", urlsplit(url).password)
    assert refusal.value.fields == {guard.SETTING: "db_target_is_control_plane"}
    elsewhere = replace(target, database="app_preview_2")
    create_slot_database(admin, "app_preview_2")
    with pytest.raises(Refused):
        admin.check_target(elsewhere, "app_preview_1", urlsplit(url).password)


def test_database_lock_excludes_other_connections(admin, config):
    with admin.database_lock(TEMPLATE), connect(config.preview_admin_database_url) as rival:
        taken = rival.execute(
            "SELECT pg_try_advisory_lock(hashtext(%s))", [f"oroboros:{TEMPLATE}"]
        ).fetchone()
        assert taken == (False,)


def test_database_lock_is_released_although_its_connection_stays_open(admin, config):
    with admin.connection(), connect(config.preview_admin_database_url) as rival:
        with admin.database_lock(TEMPLATE):
            pass
        take = "SELECT pg_try_advisory_lock(hashtext(%s))"
        assert rival.execute(take, [f"oroboros:{TEMPLATE}"]).fetchone() == (True,)


def test_check_is_called_while_waiting_and_may_end_the_wait(admin, config):
    asked = []

    def check():
        asked.append("still?")
        if len(asked) == 2:
            raise TimeoutError

    with connect(config.preview_admin_database_url) as rival:
        rival.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"oroboros:{TEMPLATE}"])
        with pytest.raises(TimeoutError), admin.database_lock(TEMPLATE, check):
            asked.append("it was free")
        assert asked == 2 * ["still?"]


def test_lock_lost_with_its_connection_hides_no_error(admin):
    with pytest.raises(KeyError), admin.connection() as connection, admin.database_lock(TEMPLATE):
        connection.close()
        raise KeyError("what went wrong")


def test_unreachable_server_is_refused_without_the_password(config):
    away = replace(config, preview_admin_database_url="postgresql://admin:hunter2@127.0.0.1:1/x")
    with pytest.raises(Refused) as refusal:
        administration.DatabaseAdmin(away).exists("app_preview_1")
    assert refusal.value.code == "database_unreachable"
    assert "hunter2" not in refusal.value.detail


def test_large_template_is_copied_by_files(admin, monkeypatch):
    create_template(admin)
    monkeypatch.setattr(databases, "LARGE_BYTES", 0)
    password = admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    with connect(url_of(admin, "app_preview_1", "app_preview_1", password)) as session:
        assert session.execute("SELECT text FROM entry").fetchall() == [("from main",)]


def test_extensions_are_the_owners_and_survive_in_a_clone(admin):
    url = create_slot_database(admin, "app_preview_1")
    for _ in range(2):
        admin.create_extensions("app_preview_1", "app_preview_1", ["citext", "pg_trgm"])
    with connect(url) as session:
        session.execute("CREATE TABLE person (name citext)")
        session.execute("ALTER EXTENSION citext UPDATE")
        session.execute("DROP EXTENSION pg_trgm")


@pytest.mark.parametrize(
    ("extension", "words"),
    [
        ("no_such_extension", "has no extension no_such_extension"),
        ("file_fdw", "Only a superuser may create the extension file_fdw"),
        ('x"; DROP DATABASE', "is not available"),
    ],
)
def test_an_extension_that_cannot_be_created_is_refused_with_what_to_do(admin, extension, words):
    create_slot_database(admin, "app_preview_1")
    with pytest.raises(Refused, match="was not created in app_preview_1") as caught:
        admin.create_extensions("app_preview_1", "app_preview_1", [extension])
    assert (caught.value.code, words in caught.value.detail) == ("extension_refused", True)
