"""Databases and roles on the session's own PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import psycopg
import pytest

from host.errors import Refused
from host.postgres import administration, dump, guard
from host.postgres.guard import Target
from host.postgres.schema_diff import schema_changes
from tests import environment

TEMPLATE = "app_template_0123456789ab"
SPARE = "app_spare_0123456789ab"
OLD_SPARE = "app_spare_ffffffffffff"
GATE = "app_gate_1"


@pytest.fixture
def admin(config):
    admin = administration.Admin(config)
    yield admin
    for name in ("app_preview_1", "app_preview_2", GATE, TEMPLATE, SPARE, OLD_SPARE):
        admin.drop(name)


@pytest.fixture
def target(config, slot):
    return guard.target(config, slot)


def connect(url):
    return psycopg.connect(url, autocommit=True, connect_timeout=5)


def url_of(admin, name, role, password):
    server = urlsplit(admin.config.preview_admin_database_url)
    return guard.application_url(
        Target("postgresql", server.hostname, server.port, name), role, password
    )


def granted(admin, name):
    """Create the database of a slot and return its URL."""
    password = admin.ensure_role(name)
    admin.create(name, name)
    return url_of(admin, name, name, password)


def test_a_slots_role_owns_what_it_makes_and_cannot_drop_or_open_its_database(admin):
    with connect(granted(admin, "app_preview_1")) as session:
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
    assert admin.ready("app_preview_1", "app_preview_1")


def test_a_slots_role_reaches_no_other_database(admin, config):
    superuser = environment.CLUSTER.url("postgres")
    server = {"postgres": ["oroboros_admin"], "template1": [], "oroboros": ["oroboros"]}
    administration.close_to_public(superuser, server)
    administration.close_to_public(superuser, server)
    password = admin.ensure_role("app_preview_1")
    admin.create("app_preview_1", "app_preview_1")
    granted(admin, "app_preview_2")
    for name in ("postgres", "template1", "oroboros", "app_preview_2"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            connect(url_of(admin, name, "app_preview_1", password))
    connect(url_of(admin, "app_preview_1", "app_preview_1", password)).close()


def test_a_grant_makes_yesterdays_password_useless_and_forgets_settings(admin):
    old = granted(admin, "app_preview_1")
    with connect(old) as session:
        session.execute("ALTER ROLE app_preview_1 SET default_transaction_read_only = on")
    new = granted(admin, "app_preview_1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(old)
    with connect(new) as session:
        session.execute("CREATE TABLE entry (id bigint)")


def template(admin):
    password = admin.ensure_role(guard.TEMPLATE_ROLE)
    admin.create(TEMPLATE, guard.TEMPLATE_ROLE)
    with connect(url_of(admin, TEMPLATE, guard.TEMPLATE_ROLE, password)) as session:
        session.execute("CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY, text text)")
        session.execute("INSERT INTO entry (text) VALUES ('from main')")
        session.execute("CREATE TYPE mood AS ENUM ('good')")
        session.execute("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert not admin.template_exists(TEMPLATE)
    admin.seal_template(TEMPLATE)
    admin.seal_template(TEMPLATE)
    assert admin.template_exists(TEMPLATE)
    return url_of(admin, TEMPLATE, guard.TEMPLATE_ROLE, password)


def test_a_clone_belongs_to_its_role_and_the_template_stays_as_it_was(admin):
    sealed = template(admin)
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


def test_what_is_done_within_a_connection_shares_it(admin):
    with admin.connected() as outer:
        with admin.connected() as inner, admin.connected("postgres") as another:
            assert inner is outer
            assert another is not outer
        assert outer.execute("SELECT 1").fetchone() == (1,)
    with admin.connected() as later:
        assert later is not outer


def test_a_clone_again_replaces_the_database_and_ends_its_sessions(admin):
    template(admin)
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


def test_a_clone_that_died_before_its_end_is_not_ready(admin):
    template(admin)
    admin.ensure_role("app_preview_1")
    admin._create("app_preview_1", TEMPLATE)
    assert admin.exists("app_preview_1")
    assert not admin.ready("app_preview_1", "app_preview_1")


def oid(admin, name):
    with admin.connected() as connection:
        row = connection.execute("SELECT oid FROM pg_database WHERE datname = %s", [name])
        return row.fetchone()


def test_the_spare_copy_becomes_the_next_clone_and_only_that(admin):
    template(admin)
    assert admin.keep_spare(TEMPLATE)
    assert not admin.keep_spare(TEMPLATE)
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
    assert admin.keep_spare(TEMPLATE)


def test_nobody_else_is_let_into_a_spare_copy(admin):
    template(admin)
    admin.keep_spare(TEMPLATE)
    password = admin.ensure_role("app_preview_1")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        connect(url_of(admin, SPARE, "app_preview_1", password))


def test_a_spare_copy_that_died_before_its_end_is_not_taken_but_made_anew(admin):
    template(admin)
    admin._create(SPARE, TEMPLATE)
    with admin.connected() as connection:
        connection.execute(f"ALTER DATABASE {SPARE} ALLOW_CONNECTIONS false")
    half = oid(admin, SPARE)
    admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    assert oid(admin, "app_preview_1") != half
    assert admin.keep_spare(TEMPLATE)
    assert oid(admin, SPARE) != half


def test_spare_copies_of_other_templates_go_and_none_is_made_of_what_is_not_sealed(admin):
    admin.ensure_role(guard.TEMPLATE_ROLE)
    admin.create(TEMPLATE, guard.TEMPLATE_ROLE)
    admin._create(OLD_SPARE, "template0")
    assert not admin.keep_spare(TEMPLATE)
    assert not admin.exists(OLD_SPARE)
    assert not admin.exists(SPARE)


def test_of_two_clones_at_once_one_gets_the_spare_copy(admin):
    template(admin)
    admin.keep_spare(TEMPLATE)
    spare, names = oid(admin, SPARE), ("app_preview_1", "app_preview_2")
    for name in names:
        admin.ensure_role(name)
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(lambda name: admin.clone(TEMPLATE, name, name), names))
    assert [oid(admin, name) for name in names].count(spare) == 1
    assert all(admin.ready(name, name) for name in names)


def test_clones_of_one_database_at_once_come_one_after_the_other(admin):
    template(admin)
    admin.ensure_role("app_preview_1")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: admin.clone(TEMPLATE, name, name), ["app_preview_1"] * 4))
    assert admin.ready("app_preview_1", "app_preview_1")


def test_a_half_built_template_is_not_cloned(admin):
    admin.ensure_role(guard.TEMPLATE_ROLE)
    admin.create(TEMPLATE, guard.TEMPLATE_ROLE)
    with pytest.raises(Refused) as refusal:
        admin.clone(TEMPLATE, GATE, guard.GATE_ROLE)
    assert refusal.value.code == "template_missing"


def test_end_sessions_ends_them_and_drop_may_be_repeated(admin):
    with connect(granted(admin, "app_preview_1")) as session:
        assert admin.end_sessions("app_preview_1")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    admin.drop("app_preview_1")
    admin.drop("app_preview_1")
    assert not admin.exists("app_preview_1")
    assert "app_preview_1" not in admin.names()


@pytest.mark.parametrize("name", ["oroboros", "postgres", "template1", "app_production", "x"])
def test_nothing_but_the_pipelines_databases_is_ever_touched(admin, name):
    template(admin)
    for act in (
        lambda: admin.create(name, "app_preview_1"),
        lambda: admin.clone(TEMPLATE, name, "app_preview_1"),
        lambda: admin.drop(name),
        lambda: admin.end_sessions(name),
        lambda: admin.seal_template(name),
        lambda: administration.Admin(admin.config, production=True).drop(name),
    ):
        with pytest.raises(Refused) as refusal:
            act()
        assert refusal.value.code == "unsafe_database_target"
    with pytest.raises(Refused):
        admin.ensure_role(name if name != "app_production" else "oroboros")
    with pytest.raises(Refused):
        admin.create("app_preview_1", "oroboros")


def test_productions_database_is_kept_when_it_is_made_again(config):
    production = administration.Admin(config, production=True)
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


def test_the_server_itself_is_asked_where_a_target_leads(admin, config, target):
    url = granted(admin, "app_preview_1")
    password = urlsplit(url).password
    admin.check_target(target, "app_preview_1", password)
    found = administration.identity(url)
    assert (found.name, found.role) == ("app_preview_1", "app_preview_1")


def test_a_target_that_turns_out_to_be_the_control_plane_is_refused(admin, config, target):
    url = granted(admin, "app_preview_1")
    control = administration.Admin(replace(config, database_url=url))
    with pytest.raises(Refused) as refusal:
        control.check_target(target, "app_preview_1", urlsplit(url).password)
    assert refusal.value.fields == {guard.SETTING: "db_target_is_control_plane"}
    elsewhere = replace(target, database="app_preview_2")
    granted(admin, "app_preview_2")
    with pytest.raises(Refused):
        admin.check_target(elsewhere, "app_preview_1", urlsplit(url).password)


def test_only_one_at_a_time_builds_a_template(admin, config):
    with admin.exclusively(TEMPLATE), connect(config.preview_admin_database_url) as rival:
        taken = rival.execute(
            "SELECT pg_try_advisory_lock(hashtext(%s))", [f"oroboros:{TEMPLATE}"]
        ).fetchone()
        assert taken == (False,)


def test_the_next_may_build_a_template_though_the_connection_goes_on(admin, config):
    with admin.connected(), connect(config.preview_admin_database_url) as rival:
        with admin.exclusively(TEMPLATE):
            pass
        take = "SELECT pg_try_advisory_lock(hashtext(%s))"
        assert rival.execute(take, [f"oroboros:{TEMPLATE}"]).fetchone() == (True,)


def test_who_waits_for_a_template_is_asked_meanwhile_and_may_leave(admin, config):
    asked = []

    def check():
        asked.append("still?")
        if len(asked) == 2:
            raise TimeoutError

    with connect(config.preview_admin_database_url) as rival:
        rival.execute("SELECT pg_advisory_lock(hashtext(%s))", [f"oroboros:{TEMPLATE}"])
        with pytest.raises(TimeoutError), admin.exclusively(TEMPLATE, check):
            asked.append("it was free")
        assert asked == 2 * ["still?"]


def test_a_lock_that_was_lost_with_its_connection_hides_no_error(admin):
    with pytest.raises(KeyError), admin.connected() as connection, admin.exclusively(TEMPLATE):
        connection.close()
        raise KeyError("what went wrong")


def test_a_server_that_is_not_there_is_said(config):
    away = replace(config, preview_admin_database_url="postgresql://admin:hunter2@127.0.0.1:1/x")
    with pytest.raises(Refused) as refusal:
        administration.Admin(away).exists("app_preview_1")
    assert refusal.value.code == "database_unreachable"
    assert "hunter2" not in refusal.value.detail


def test_the_schema_of_a_real_migration_says_what_it_drops_and_narrows(admin):
    url = granted(admin, "app_preview_1")
    with connect(url) as session:
        session.execute(
            "CREATE TYPE mood AS ENUM ('good', 'bad');"
            "CREATE TABLE entry (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
            ' name varchar(50), "the text" text NOT NULL, mood mood, score int, at date);'
            "CREATE TABLE gone (id int);"
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'a;'\n|| ';'; $$;"
            "CREATE VIEW latest AS SELECT id FROM entry"
        )
        before = dump.schema(url)
        assert dump.schema(url) == before
        assert schema_changes(before, before) == []
        session.execute(
            "DROP TABLE gone; ALTER TABLE entry DROP COLUMN at;"
            "ALTER TABLE entry ALTER name TYPE varchar(20);"
            "ALTER TABLE entry ALTER score TYPE bigint;"
            "ALTER TABLE entry ALTER score SET NOT NULL;"
            "ALTER TABLE entry ADD reaction text; ALTER TABLE entry ADD must int NOT NULL;"
            "ALTER TABLE entry ADD may int NOT NULL DEFAULT 3;"
            "ALTER TABLE entry ADD CONSTRAINT positive CHECK (score > 0);"
            "CREATE UNIQUE INDEX one_name ON entry (name); CREATE INDEX plain ON entry (score);"
            "DROP VIEW latest; ALTER TYPE mood ADD VALUE 'new'"
        )
        found = schema_changes(before, dump.schema(url))
    said = [(change.kind, change.text) for change in found]
    assert said == [
        ("drops", "drops column public.entry.at"),
        ("drops", "drops table public.gone"),
        ("drops", "drops view public.latest"),
        ("narrows", "adds column public.entry.must, required and without a default"),
        ("narrows", "adds constraint positive to public.entry: CHECK ((score > 0))"),
        ("narrows", "adds unique index one_name on public.entry USING btree (name)"),
        (
            "narrows",
            "changes public.entry.name from character varying(50) to character varying(20)",
        ),
        ("narrows", "makes public.entry.score required"),
        ("changes", "adds value 'new' to public.mood"),
        ("changes", "changes public.entry.score from integer to bigint"),
        ("adds", "adds column public.entry.may (integer)"),
        ("adds", "adds column public.entry.reaction (text)"),
        ("adds", "makes index plain"),
    ]
    assert [change.is_irreversible for change in found].count(True) == 8


def test_a_large_template_is_copied_file_by_file_to_the_same_end(admin, monkeypatch):
    template(admin)
    monkeypatch.setattr(administration, "LARGE_BYTES", 0)
    password = admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    with connect(url_of(admin, "app_preview_1", "app_preview_1", password)) as session:
        assert session.execute("SELECT text FROM entry").fetchall() == [("from main",)]


@pytest.mark.parametrize(
    ("before", "change", "kind"),
    [
        ("CREATE TABLE t (a int DEFAULT 1)", "ALTER TABLE t ALTER a SET DEFAULT 2", "changes"),
        ("CREATE TABLE t (a text)", 'ALTER TABLE t ALTER a TYPE text COLLATE "C"', "changes"),
        (
            "CREATE TABLE t (a int NOT NULL)",
            "ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY",
            "changes",
        ),
        (
            "CREATE TABLE t (a int) PARTITION BY LIST (a); CREATE TABLE p (a int)",
            "ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1)",
            "changes",
        ),
        ("CREATE TABLE t (a int)", "COMMENT ON COLUMN t.a IS 'b'", "changes"),
        ("CREATE TABLE t (a int)", "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "narrows"),
        ("CREATE TABLE t (a int)", "ALTER TABLE t FORCE ROW LEVEL SECURITY", "narrows"),
        ("CREATE DOMAIN d AS int", "ALTER DOMAIN d ADD CHECK (VALUE > 0)", "narrows"),
        ("CREATE DOMAIN d AS int", "ALTER DOMAIN d SET NOT NULL", "narrows"),
        ("CREATE SEQUENCE s", "ALTER SEQUENCE s MAXVALUE 9", "narrows"),
        ("CREATE SEQUENCE s", "ALTER SEQUENCE s AS integer", "narrows"),
        ("CREATE TYPE c AS (a int, b text)", "ALTER TYPE c DROP ATTRIBUTE b", "drops"),
        (
            "CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a, b + 1 AS c FROM t",
            "DROP VIEW v; CREATE VIEW v AS SELECT a FROM t",
            "drops",
        ),
        (
            "CREATE VIEW v AS WITH q AS (SELECT 1 AS a, 2 AS b) SELECT a, b FROM q",
            "DROP VIEW v; CREATE VIEW v AS WITH q AS (SELECT 1 AS a, 2 AS b) SELECT b FROM q",
            "drops",
        ),
    ],
)
def test_what_postgresql_itself_changes_is_seen_and_judged(admin, before, change, kind):
    url = granted(admin, "app_preview_1")
    with connect(url) as session:
        session.execute(before)
        old = dump.schema(url)
        session.execute(change)
        found = schema_changes(old, dump.schema(url))
    assert [one.kind for one in found] == [kind], found


ODD = """
CREATE TYPE "mood\n""x" AS ENUM ('a,\nb', 'c');
CREATE TYPE "mood\n""y" AS ENUM ('a');
CREATE TYPE pair AS ("first\n""one" int, b text);
CREATE TABLE "my\ntable" (
    id int PRIMARY KEY,
    "it's" text DEFAULT '$$' NOT NULL,
    "a;\n""b""\nCONSTRAINT x" text DEFAULT E'one\n"two\nCONSTRAINT x\n)\n);\n-- ''\nSET x\n,\n',
    "c d" int DEFAULT 1,
    e text GENERATED ALWAYS AS (CASE WHEN id > 1 THEN E'x,\n"y' ELSE 'z' END) STORED,
    last int,
    CONSTRAINT "odd\n""name" CHECK (last > 0 OR "it's" <> E'\n"')
);
CREATE VIEW odd AS SELECT E'x,\n,\n"y' AS "a\nb", last FROM "my\ntable";
CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $x$ SELECT E'
"a;
-- it''s
CONSTRAINT x'; $x$;
CREATE TABLE plain (a int);
"""


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ("SELECT 1", None, None),
        ('ALTER TABLE "my\ntable" DROP last CASCADE', "drops", 'column public."my table".last'),
        (
            """ALTER TABLE "my\ntable" DROP "a;\n""b""\nCONSTRAINT x" """,
            "drops",
            '"a; ""b"" CONSTRAINT x"',
        ),
        ("""ALTER TABLE "my\ntable" ALTER "it's" SET DEFAULT E'\n"'""", "changes", "it's"),
        (
            """ALTER TABLE "my\ntable" ALTER "a;\n""b""\nCONSTRAINT x" SET DEFAULT E'one\n"two'""",
            "changes",
            "two",
        ),
        (
            'ALTER TABLE "my\ntable" ALTER "c d" SET NOT NULL',
            "narrows",
            'makes public."my table"."c d"',
        ),
        ("""ALTER TABLE "my\ntable" DROP CONSTRAINT "odd\n""name" """, "changes", '"odd ""name"'),
        ("""ALTER TYPE pair DROP ATTRIBUTE "first\n""one" """, "drops", 'drops "first ""one"'),
        ("""ALTER TYPE "mood\n""x" ADD VALUE 'd'""", "changes", "adds value 'd'"),
        ("""ALTER TYPE "mood\n""y" RENAME VALUE 'a' TO 'b'""", "drops", "drops value 'a'"),
        ('ALTER TABLE "my\ntable" ENABLE ROW LEVEL SECURITY', "narrows", "ENABLE ROW"),
        ('ALTER TABLE "my\ntable" RENAME TO "my\nown"', "drops", 'drops table public."my table"'),
        ("DROP TABLE plain", "drops", "table public.plain"),
        ("ALTER TABLE plain ALTER a TYPE bigint", "changes", "public.plain.a from integer"),
        ("DROP FUNCTION f", "drops", "function public.f("),
        ("DROP VIEW odd", "drops", "view public.odd"),
    ],
)
def test_names_and_strings_of_any_kind_hide_no_change(admin, change, kind, said):
    url = granted(admin, "app_preview_1")
    with connect(url) as session:
        session.execute(ODD)
        old = dump.schema(url)
        session.execute(change)
        found = schema_changes(old, dump.schema(url))
    if kind is None:
        assert found == []
        return
    assert all("\n" not in one.text for one in found)
    assert [one.kind for one in found if said in one.text] == [kind], found
