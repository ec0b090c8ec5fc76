"""Comparing two schema snapshots."""

import copy

import pytest

from host.postgres.schema_diff import can_hold, compare_schemas
from tests.host.postgres.schema_snapshots import column, snapshot


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
def test_can_hold_says_whether_every_value_fits(wide, narrow, fits):
    assert can_hold(wide, narrow) is fits


def one_column(**values):
    return snapshot({"public.x": {"a": column("integer", **values)}})


def one_object(name, definition="", **values):
    return snapshot(objects={name: {"definition": definition, **values}})


def one_index(definition="USING btree (a)", *, is_unique=False, table="public.x"):
    index = {"name": "i", "table": table, "is_unique": is_unique, "definition": definition}
    return snapshot({"public.x": {}}, indexes=[index])


def one_table(*statements, **constraints):
    schema = snapshot({"public.x": {}})
    schema["tables"]["public.x"] |= {"statements": list(statements), "constraints": constraints}
    return schema


def sequence(minimum, maximum, increment=1):
    limits = {"increment": increment, "minimum": minimum, "maximum": maximum}
    return one_object("sequence public.s", str(limits), range=limits)


def enum(*labels):
    return snapshot(enums={"public.mood": list(labels)})


EMPTY = snapshot()
BARE = snapshot({"public.x": {}})
RLS = "ALTER TABLE public.x ENABLE ROW LEVEL SECURITY"
ATTACHED = "ALTER TABLE public.x ATTACH PARTITION public.p DEFAULT"


@pytest.mark.parametrize(
    ("before", "after", "kind", "text"),
    [
        (EMPTY, BARE, "adds", "adds table public.x"),
        (BARE, EMPTY, "drops", "drops table public.x"),
        (one_column(), BARE, "drops", "drops column public.x.a"),
        (BARE, one_column(), "adds", "adds column public.x.a (integer)"),
        (
            BARE,
            one_column(is_required=True),
            "narrows",
            "adds column public.x.a, required and without a default",
        ),
        (
            BARE,
            one_column(is_required=True, has_default=True),
            "adds",
            "adds column public.x.a (integer)",
        ),
        (
            one_column(),
            one_column(definition="integer DEFAULT\n2", has_default=True),
            "changes",
            "changes public.x.a: integer DEFAULT 2",
        ),
        (
            one_column(definition="integer DEFAULT 1", has_default=True),
            one_column(definition="integer DEFAULT 2", has_default=True),
            "changes",
            "changes public.x.a: integer DEFAULT 2",
        ),
        (one_column(), one_column(is_required=True), "narrows", "makes public.x.a required"),
        (one_column(is_required=True), one_column(), "changes", "makes public.x.a optional"),
        (
            one_column(has_default=True, is_required=True),
            one_column(is_required=True),
            "narrows",
            "removes the default of public.x.a",
        ),
        (
            one_column(has_default=True),
            one_column(),
            "changes",
            "removes the default of public.x.a",
        ),
        (
            one_column(),
            snapshot({"public.x": {"a": "bigint"}}),
            "changes",
            "changes public.x.a from integer to bigint",
        ),
        (
            one_column(),
            snapshot({"public.x": {"a": "smallint"}}),
            "narrows",
            "changes public.x.a from integer to smallint",
        ),
        (
            one_table(),
            one_table(c="CHECK ((a > 0))"),
            "narrows",
            "adds constraint c to public.x: CHECK ((a > 0))",
        ),
        (one_table(c="UNIQUE (a)"), one_table(), "changes", "drops constraint c of public.x"),
        (
            one_table(c="UNIQUE (a)"),
            one_table(c="UNIQUE (b)"),
            "narrows",
            "changes constraint c of public.x: UNIQUE (b)",
        ),
        (one_table(), one_table(RLS), "narrows", f"adds: {RLS}"),
        (one_table(RLS), one_table(), "changes", f"removes: {RLS}"),
        (one_table(), one_table(ATTACHED), "changes", f"adds: {ATTACHED}"),
        (BARE, one_index(), "adds", "creates index i"),
        (one_index(), BARE, "changes", "drops index i"),
        (one_index(), one_index("USING btree (b)"), "changes", "changes index i"),
        (
            BARE,
            one_index(is_unique=True),
            "narrows",
            "adds unique index i on public.x USING btree (a)",
        ),
        (BARE, one_index(is_unique=True, table="public.view"), "adds", "creates index i"),
        (EMPTY, enum("'a'"), "adds", "adds type public.mood"),
        (enum("'a'"), EMPTY, "drops", "drops type public.mood"),
        (enum("'a'"), enum("'a'", "'b'"), "changes", "adds value 'b' to public.mood"),
        (enum("'a'", "'b'"), enum("'a'"), "drops", "drops value 'b' of public.mood"),
        (
            enum("'a'", "'b'"),
            enum("'b'", "'a'"),
            "changes",
            "changes the order of the values of public.mood",
        ),
        (EMPTY, one_object("view public.v"), "adds", "adds view public.v"),
        (one_object("view public.v"), EMPTY, "drops", "drops view public.v"),
        (
            one_object("view public.v", columns=["a", "b"]),
            one_object("view public.v", columns=["a"]),
            "drops",
            "drops b of view public.v",
        ),
        (
            one_object("view public.v", columns=["a"]),
            one_object("view public.v", columns=["a", "b"]),
            "changes",
            "changes view public.v",
        ),
        (
            one_object("function public.f()", "SELECT 1"),
            one_object("function public.f()", "SELECT 2"),
            "changes",
            "changes function public.f()",
        ),
        (
            one_object("domain public.d", type="text"),
            one_object("domain public.d", type="character varying(3)"),
            "narrows",
            "changes domain public.d from text to character varying(3)",
        ),
        (
            one_object("domain public.d", type="text"),
            one_object("domain public.d", type="text", conditions=["NOT NULL"]),
            "narrows",
            "adds a condition to domain public.d",
        ),
        (
            one_object("domain public.d", type="text", conditions=["NOT NULL"]),
            one_object("domain public.d", type="text"),
            "changes",
            "changes domain public.d",
        ),
        (
            sequence(1, 99),
            sequence(1, 9),
            "narrows",
            "lowers the maximum of sequence public.s to 9",
        ),
        (sequence(1, 9), sequence(1, 99), "changes", "changes sequence public.s"),
        (
            sequence(-99, -1, -1),
            sequence(-9, -1, -1),
            "narrows",
            "raises the minimum of sequence public.s to -9",
        ),
        (sequence(-9, -1, -1), sequence(-9, 9, 1), "changes", "changes sequence public.s"),
        (EMPTY, snapshot(statements={"publication p": "x"}), "changes", "adds publication p"),
        (snapshot(statements={"publication p": "x"}), EMPTY, "changes", "removes publication p"),
        (
            snapshot(statements={"publication p": "x"}),
            snapshot(statements={"publication p": "y"}),
            "changes",
            "changes publication p",
        ),
    ],
)
def test_difference_is_one_change(before, after, kind, text):
    (change,) = compare_schemas(before, after)
    assert (change.kind, change.text) == (kind, text)
    assert change.is_irreversible is (kind in ("drops", "narrows"))
    assert compare_schemas(before, copy.deepcopy(before)) == []


def test_parts_of_a_new_table_are_no_changes_of_their_own():
    table = one_table(RLS, c="UNIQUE (a)")
    assert [change.text for change in compare_schemas(EMPTY, table)] == ["adds table public.x"]
    assert [change.text for change in compare_schemas(table, EMPTY)] == ["drops table public.x"]


def test_irreversible_changes_come_first():
    before = snapshot({"public.x": {"a": "text", "b": "text"}})
    after = snapshot({"public.x": {"a": "integer", "c": "text"}, "public.y": {}})
    kinds = [change.kind for change in compare_schemas(before, after)]
    assert kinds == ["drops", "narrows", "adds", "adds"]


def test_order_of_columns_is_no_change():
    before = snapshot({"public.x": {"a": "text", "b": "text"}})
    after = snapshot({"public.x": {"b": "text", "a": "text"}})
    assert compare_schemas(before, after) == []


def test_text_of_a_change_is_one_line_and_its_definition_is_cut():
    before, after = one_column(), one_column(definition="integer\nDEFAULT " + 300 * "1")
    (change,) = compare_schemas(before, after)
    assert "\n" not in change.text
    assert len(change.text) == len("changes public.x.a: ") + 200
