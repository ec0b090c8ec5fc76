"""Which type holds which, and how a dump is taken apart."""

import pytest

from slots.host.schema import holds, schema_changes, statements


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
    assert [change.kind for change in schema_changes(after, before)] == []
