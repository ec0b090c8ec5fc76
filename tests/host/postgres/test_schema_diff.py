"""Which type holds which, and how a dump is taken apart."""

import pytest

from host.postgres.schema_diff import holds, schema_changes, statements


@pytest.mark.parametrize(
    ("wide", "narrow", "fits"),
    [
        ("text", "character varying(20)", True),
        ("character varying", "text", True),
        ("character varying(30)", "character varying(20)", True),
        ("character varying(20)", "character varying(30)", False),
        ("character varying(20)", "character varying", False),
        ("character varying", "character varying(20)", True),
        ("character varying(20)", "text", False),
        ("character varying(20)", "character(20)", False),
        ("text", "bit(3)", False),
        ("bigint", "integer", True),
        ("integer", "bigint", False),
        ("bigint[]", "integer[]", True),
        ("bigint", "integer[]", False),
        ("numeric(12,2)", "numeric(10,2)", True),
        ("numeric(12,4)", "numeric(12,2)", False),
        ("numeric", "numeric(10,2)", True),
        ("numeric(10,2)", "numeric", False),
        ("timestamp with time zone", "timestamp without time zone", False),
        ("text", "public.mood", False),
    ],
)
def test_a_type_holds_another_or_not(wide, narrow, fits):
    assert holds(wide, narrow) is fits


def test_semicolons_in_bodies_and_strings_end_nothing():
    dump = """CREATE FUNCTION public.f() RETURNS text
    LANGUAGE sql
    AS $_$ SELECT ';';
SELECT $1; $_$;

COMMENT ON TABLE public.x IS 'it''s;
two lines;
';

CREATE TABLE public.x (
    a integer DEFAULT 1,
    "b c" text DEFAULT ';'::text NOT NULL
);
"""
    assert [text.split(" ", 2)[1] for text in statements(dump)] == ["FUNCTION", "ON", "TABLE"]


def test_a_default_that_goes_from_a_required_column_narrows():
    before = "CREATE TABLE public.x (\n    a integer DEFAULT 1 NOT NULL\n);\n"
    after = "CREATE TABLE public.x (\n    a integer NOT NULL\n);\n"
    assert [change.kind for change in schema_changes(before, after)] == ["narrows"]
    assert [change.kind for change in schema_changes(after, before)] == ["changes"]


TABLE = "CREATE TABLE public.x (\n    {}\n);\n"
VIEW = "CREATE VIEW public.v AS\n SELECT {}\n   FROM public.x;\n"
DOMAIN = "CREATE DOMAIN public.d AS integer{};\n"
SEQUENCE = "CREATE SEQUENCE public.s\n    START WITH 1\n    NO MINVALUE\n    {}\n    CACHE 1;\n"
TYPE = "CREATE TYPE public.t AS (\n{}\n);\n"
BARE = TABLE.format("a integer")


@pytest.mark.parametrize(
    ("before", "after", "kind", "said"),
    [
        (TABLE.format("a integer DEFAULT 1"), TABLE.format("a integer DEFAULT 2"), "changes", "2"),
        (TABLE.format("a text"), TABLE.format('a text COLLATE "C"'), "changes", "COLLATE"),
        (
            TABLE.format("a integer GENERATED ALWAYS AS (1) STORED"),
            TABLE.format("a integer GENERATED ALWAYS AS (2) STORED"),
            "changes",
            "(2)",
        ),
        (
            BARE,
            f"{BARE}ALTER TABLE public.x ALTER COLUMN a ADD GENERATED ALWAYS AS IDENTITY (\n);\n",
            "changes",
            "IDENTITY",
        ),
        (BARE, f"{BARE}COMMENT ON TABLE public.x IS 'y';\n", "changes", "COMMENT"),
        (f"{BARE}COMMENT ON TABLE public.x IS 'y';\n", BARE, "changes", "takes away"),
        (
            BARE,
            f"{BARE}ALTER TABLE ONLY public.x ATTACH PARTITION public.p DEFAULT;\n",
            "changes",
            "ATTACH",
        ),
        ("", "CREATE EVENT TRIGGER e ON sql_drop EXECUTE FUNCTION f();\n", "changes", "EVENT"),
        (BARE, f"{BARE}ALTER TABLE public.x ENABLE ROW LEVEL SECURITY;\n", "narrows", "ENABLE"),
        (BARE, f"{BARE}ALTER TABLE ONLY public.x FORCE ROW LEVEL SECURITY;\n", "narrows", "FORCE"),
        (f"{BARE}ALTER TABLE public.x ENABLE ROW LEVEL SECURITY;\n", BARE, "changes", "away"),
        (
            DOMAIN.format(""),
            DOMAIN.format("\n\tCONSTRAINT c CHECK ((VALUE > 0))"),
            "narrows",
            "domain public.d",
        ),
        (
            DOMAIN.format("\n\tCONSTRAINT c CHECK ((VALUE > 0))"),
            DOMAIN.format(""),
            "changes",
            "domain public.d",
        ),
        (DOMAIN.format(""), DOMAIN.format(" NOT NULL"), "narrows", "domain public.d"),
        (SEQUENCE.format("NO MAXVALUE"), SEQUENCE.format("MAXVALUE 9"), "narrows", "9"),
        (SEQUENCE.format("MAXVALUE 9"), SEQUENCE.format("MAXVALUE 90"), "changes", "public.s"),
        (TYPE.format("\ta integer,\n\tb text"), TYPE.format("\ta integer"), "drops", "b of type"),
        (TYPE.format("\ta integer"), TYPE.format("\ta integer,\n\tb text"), "changes", "type"),
        (VIEW.format("x.a,\n    1 AS b"), VIEW.format("x.a"), "drops", "b of view public.v"),
        (VIEW.format("x.a"), VIEW.format("x.a,\n    1 AS b"), "changes", "view public.v"),
        ("CREATE TABLE public.y (\n);\n", "", "drops", "table public.y"),
    ],
)
def test_every_statement_that_differs_is_a_change(before, after, kind, said):
    (change,) = schema_changes(before, after)
    assert change.kind == kind
    assert said in change.text


def test_what_is_said_of_a_new_table_comes_with_it():
    more = "COMMENT ON TABLE public.x IS 'y';\nALTER TABLE public.x ENABLE ROW LEVEL SECURITY;\n"
    assert [change.text for change in schema_changes("", BARE + more)] == ["adds table public.x"]
