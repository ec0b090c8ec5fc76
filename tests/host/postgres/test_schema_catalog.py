"""Reading the schema of real databases: every kind of object, and what is left out."""

import pytest

from host.errors import Refused
from host.postgres.schema_catalog import read_schema
from host.postgres.schema_diff import compare_schemas
from host.postgres.schema_snapshot import from_json, render_lines, to_json
from tests import environment
from tests.host.postgres.test_administration import (
    TEMPLATE,
    admin,
    connect,
    create_slot_database,
    url_of,
)

__all__ = ["admin"]

BASE = """
CREATE TABLE base (id int, name text);
CREATE TABLE parts (id int) PARTITION BY LIST (id);
CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION is_same(a int, b int) RETURNS bool LANGUAGE sql AS 'SELECT a = b';
CREATE TYPE pair AS (a int, b int);
"""
DISABLE = "ALTER TABLE base DISABLE"
# Each: how it is created, changed and dropped, its name in a change, and the kind of the change.
KINDS = {
    "table": (
        "CREATE TABLE x (a int)",
        "ALTER TABLE x ADD b int",
        "DROP TABLE x",
        "table public.x",
        "adds",
    ),
    "partition": (
        "CREATE TABLE x PARTITION OF parts FOR VALUES IN (1)",
        "ALTER TABLE parts DETACH PARTITION x",
        "DROP TABLE x",
        "table public.x",
        "changes",
    ),
    "view": (
        "CREATE VIEW x AS SELECT id FROM base",
        "CREATE OR REPLACE VIEW x AS SELECT id FROM base WHERE id > 1",
        "DROP VIEW x",
        "view public.x",
        "changes",
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW x AS SELECT id FROM base",
        "ALTER MATERIALIZED VIEW x RENAME id TO number",
        "DROP MATERIALIZED VIEW x",
        "materialized view public.x",
        "drops",
    ),
    "sequence": (
        "CREATE SEQUENCE x",
        "ALTER SEQUENCE x INCREMENT BY 2",
        "DROP SEQUENCE x",
        "sequence public.x",
        "changes",
    ),
    "function": (
        "CREATE FUNCTION x(a int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION x(a int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "DROP FUNCTION x",
        "function public.x(a integer)",
        "changes",
    ),
    "procedure": (
        "CREATE PROCEDURE x(INOUT a int) LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE PROCEDURE x(INOUT a int) LANGUAGE sql AS 'SELECT 2'",
        "DROP PROCEDURE x",
        "procedure public.x(INOUT a integer)",
        "changes",
    ),
    "aggregate": (
        "CREATE AGGREGATE x(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0')",
        "CREATE OR REPLACE AGGREGATE x(int) (SFUNC = int4pl, STYPE = int, INITCOND = '1')",
        "DROP AGGREGATE x(int)",
        "aggregate public.x(integer)",
        "changes",
    ),
    "composite type": (
        "CREATE TYPE x AS (a int)",
        "ALTER TYPE x RENAME ATTRIBUTE a TO b",
        "DROP TYPE x",
        "type public.x",
        "drops",
    ),
    "enum": (
        "CREATE TYPE x AS ENUM ('a')",
        "ALTER TYPE x ADD VALUE 'b'",
        "DROP TYPE x",
        "type public.x",
        "changes",
    ),
    "range": (
        "CREATE TYPE x AS RANGE (SUBTYPE = int)",
        "DROP TYPE x; CREATE TYPE x AS RANGE (SUBTYPE = bigint)",
        "DROP TYPE x",
        "type public.x",
        "changes",
    ),
    "domain": (
        "CREATE DOMAIN x AS text",
        "ALTER DOMAIN x ADD CHECK (VALUE <> '')",
        "DROP DOMAIN x",
        "domain public.x",
        "narrows",
    ),
    "collation": (
        """CREATE COLLATION x (PROVIDER = libc, LOCALE = 'C')""",
        """DROP COLLATION x; CREATE COLLATION x (PROVIDER = libc, LOCALE = 'POSIX')""",
        "DROP COLLATION x",
        "collation public.x",
        "changes",
    ),
    "trigger": (
        "CREATE TRIGGER x BEFORE INSERT ON base FOR EACH ROW EXECUTE FUNCTION act()",
        f"{DISABLE} TRIGGER x",
        "DROP TRIGGER x ON base",
        "trigger x on public.base",
        "changes",
    ),
    "policy": (
        "CREATE POLICY x ON base FOR SELECT USING (id > 1)",
        "ALTER POLICY x ON base USING (id > 2)",
        "DROP POLICY x ON base",
        "policy x on public.base",
        "changes",
    ),
    "rule": (
        "CREATE RULE x AS ON DELETE TO base DO INSTEAD NOTHING",
        f"{DISABLE} RULE x",
        "DROP RULE x ON base",
        "rule x on public.base",
        "changes",
    ),
    "schema": (
        "CREATE SCHEMA x",
        "CREATE TABLE x.y (a int)",
        "DROP SCHEMA x CASCADE",
        "schema x",
        "adds",
    ),
    "operator": (
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = is_same)",
        "ALTER OPERATOR === (int, int) SET (RESTRICT = eqsel)",
        "DROP OPERATOR === (int, int)",
        "operator public.===(integer,integer)",
        "changes",
    ),
    "cast": (
        "CREATE CAST (pair AS text) WITH INOUT",
        "DROP CAST (pair AS text); CREATE CAST (pair AS text) WITH INOUT AS IMPLICIT",
        "DROP CAST (pair AS text)",
        "cast (public.pair AS pg_catalog.text)",
        "changes",
    ),
    "text search configuration": (
        "CREATE TEXT SEARCH CONFIGURATION x (COPY = english)",
        "ALTER TEXT SEARCH CONFIGURATION x ALTER MAPPING FOR word WITH simple",
        "DROP TEXT SEARCH CONFIGURATION x",
        "text search configuration public.x",
        "changes",
    ),
    "text search dictionary": (
        "CREATE TEXT SEARCH DICTIONARY x (TEMPLATE = simple)",
        "ALTER TEXT SEARCH DICTIONARY x (ACCEPT = false)",
        "DROP TEXT SEARCH DICTIONARY x",
        "text search dictionary public.x",
        "changes",
    ),
    "extension": (
        "CREATE SCHEMA s; CREATE EXTENSION vector",
        "ALTER EXTENSION vector SET SCHEMA s",
        "DROP EXTENSION vector",
        "extension vector",
        "changes",
    ),
    "foreign table": (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE x (a int) SERVER s",
        "ALTER FOREIGN TABLE x ALTER a OPTIONS (ADD name 'y')",
        "DROP FOREIGN TABLE x",
        "table public.x",
        "changes",
    ),
}
# Those whose loss is no loss of data; they are never added or dropped alone, but changed.
STATEMENTS = {
    "statistics": (
        "CREATE STATISTICS x (ndistinct) ON id, name FROM base",
        "DROP STATISTICS x",
        "statistics object public.x",
    ),
    "publication": ("CREATE PUBLICATION x", "DROP PUBLICATION x", "publication x"),
    "table of a publication": (
        "CREATE PUBLICATION x; ALTER PUBLICATION x ADD TABLE base",
        "ALTER PUBLICATION x DROP TABLE base",
        "publication relation public.base in publication x",
    ),
    "event trigger": (
        "CREATE FUNCTION hear() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER x ON sql_drop EXECUTE FUNCTION hear()",
        "DROP EVENT TRIGGER x",
        "event trigger x",
    ),
}


@pytest.fixture
def execute(admin):
    """Execute a script in a new database as the superuser; returns the schema as the role sees it.

    A superuser, because only such a role may create some kinds of objects.
    """
    url = create_slot_database(admin, "app_preview_1")
    with connect(environment.CLUSTER.url("app_preview_1")) as session:
        session.execute(BASE)

        def run(script):
            session.execute(script)
            return read_schema(url)

        yield run


@pytest.mark.parametrize("kind", KINDS)
def test_object_is_added_changed_and_dropped(execute, kind):
    create, change, drop, name, expected = KINDS[kind]
    missing, created = execute("SELECT 1"), execute(create)
    changed, dropped = execute(change), execute(drop)
    added = [one for one in compare_schemas(missing, created) if name in one.text]
    assert [(one.kind, one.text) for one in added] == [("adds", f"adds {name}")]
    (found,) = compare_schemas(created, changed)
    assert found.kind == expected, found
    lost = [one for one in compare_schemas(changed, dropped) if name in one.text]
    assert [(one.kind, one.text) for one in lost] == [("drops", f"drops {name}")]
    lines = [render_lines(schema) for schema in (missing, created, changed)]
    assert lines[0] != lines[1] != lines[2]


@pytest.mark.parametrize("kind", STATEMENTS)
def test_object_without_data_is_changed_when_it_is_added_or_dropped(execute, kind):
    create, drop, name = STATEMENTS[kind]
    missing, created, dropped = execute("SELECT 1"), execute(create), execute(drop)
    added = [one.text for one in compare_schemas(missing, created) if one.kind == "changes"]
    assert f"adds {name}" in added
    (lost,) = compare_schemas(created, dropped)
    assert (lost.kind, lost.text) == ("changes", f"removes {name}")


def test_new_database_has_the_public_schema_only(admin):
    schema = read_schema(create_slot_database(admin, "app_preview_1"))
    objects = {"schema public": {"definition": ""}}
    parts = {"tables": {}, "indexes": [], "enums": {}, "objects": objects, "statements": {}}
    assert schema == {"version": 1, **parts}


def test_parts_of_an_extension_are_left_out(execute):
    before, after = execute("SELECT 1"), execute("CREATE EXTENSION vector")
    texts = [change.text for change in compare_schemas(before, after)]
    assert texts == ["adds extension vector"]
    table = execute("CREATE TABLE t (a vector(3))")["tables"]["public.t"]
    assert table["columns"]["a"]["type"] == "public.vector(3)"


def test_columns_constraints_and_indexes_of_a_table(execute):
    schema = execute(
        "CREATE TABLE t (id bigint GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 9) PRIMARY KEY,"
        ' "the name" varchar(9) COLLATE "C" DEFAULT \'a;b\' NOT NULL, tags text[],'
        ' size int GENERATED ALWAYS AS (length("the name")) STORED,'
        " CONSTRAINT positive CHECK (size > 0), UNIQUE (tags) DEFERRABLE);"
        'CREATE UNIQUE INDEX "on t USING x" ON t (lower("the name")) WHERE size > 1;'
        "ALTER TABLE t ADD again bigint REFERENCES t ON DELETE CASCADE"
    )
    table = schema["tables"]["public.t"]
    assert {name: one["definition"] for name, one in table["columns"].items()} == {
        "id": "bigint GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 9) NOT NULL",
        '"the name"': 'character varying(9) COLLATE pg_catalog."C"'
        " DEFAULT 'a;b'::character varying NOT NULL",
        "tags": "text[]",
        "size": 'integer GENERATED ALWAYS AS (length(("the name")::text)) STORED',
        "again": "bigint",
    }
    required = [name for name, one in table["columns"].items() if one["is_required"]]
    assert required == ["id", '"the name"'], "also where a constraint has NOT NULL"
    assert table["constraints"] == {
        "positive": "CHECK ((size > 0))",
        "t_again_fkey": "FOREIGN KEY (again) REFERENCES public.t(id) ON DELETE CASCADE",
        "t_pkey": "PRIMARY KEY (id)",
        "t_tags_key": "UNIQUE (tags) DEFERRABLE",
    }
    assert schema["indexes"] == [
        {
            "name": '"on t USING x"',
            "table": "public.t",
            "is_unique": True,
            "definition": 'USING btree (lower(("the name")::text)) WHERE (size > 1)',
        }
    ]
    assert "sequence public.t_id_seq" not in schema["objects"], "a part of its column"


def test_snapshot_is_the_same_after_json(execute):
    schema = execute("".join(KINDS[kind][0] + ";" for kind in ("trigger", "policy", "operator")))
    assert from_json(to_json(schema)) == schema


def test_clone_has_the_schema_of_its_template(admin):
    password = admin.ensure_role(TEMPLATE)
    admin.create(TEMPLATE, TEMPLATE)
    url = url_of(admin, TEMPLATE, TEMPLATE, password)
    with connect(url) as session:
        session.execute(BASE)
        session.execute(
            "CREATE SCHEMA s; CREATE POLICY p ON base USING (true); CREATE INDEX i ON base (id);"
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = is_same)"
        )
    template = read_schema(url)
    admin.seal_template(TEMPLATE)
    slot_password = admin.ensure_role("app_preview_1")
    admin.clone(TEMPLATE, "app_preview_1", "app_preview_1")
    clone = read_schema(url_of(admin, "app_preview_1", "app_preview_1", slot_password))
    assert clone == template


@pytest.mark.parametrize(
    "setting",
    [
        "search_path = public",
        "quote_all_identifiers = on",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'sql_standard'",
        "extra_float_digits = 0",
        "standard_conforming_strings = off",
    ],
)
def test_settings_of_a_database_do_not_change_its_snapshot(execute, setting):
    before = execute(
        "CREATE TABLE t (a date DEFAULT '2026-02-01', b interval DEFAULT '1 day 2 hours',"
        " c float8 DEFAULT 0.1::float8 + 0.2::float8, d text DEFAULT 'a\\b');"
        "CREATE VIEW v AS SELECT a, 0.30000000000000004::float8 AS f FROM t"
    )
    assert execute(f"ALTER DATABASE app_preview_1 SET {setting}") == before


def test_database_that_cannot_be_read_is_refused(admin):
    url = create_slot_database(admin, "app_preview_1")
    with pytest.raises(Refused, match="password authentication failed") as refusal:
        read_schema(url.replace(":", ":x", 2).replace(":x//", "://"))
    assert refusal.value.code == "schema_unreadable"
