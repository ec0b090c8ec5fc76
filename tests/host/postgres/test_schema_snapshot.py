"""Snapshots as JSON, and as lines for a diff."""

import pytest

from host.postgres.schema_snapshot import from_json, render_lines, to_json
from tests.host.postgres.schema_snapshots import column, snapshot


def test_snapshot_is_the_same_after_json():
    schema = snapshot({'public."ä\n"': {"a": "text"}}, enums={"public.mood": ["'gut'", "'übel'"]})
    assert from_json(to_json(schema)) == schema
    assert list(from_json(to_json(schema))["tables"]) == ['public."ä\n"']


@pytest.mark.parametrize(
    "text", ["", "CREATE TABLE public.x ();\n", "[]", "1", '{"version": 0}', '{"tables": {}}']
)
def test_text_that_is_no_snapshot_raises_value_error(text):
    with pytest.raises(ValueError):
        from_json(text)


def test_every_part_of_a_snapshot_is_rendered():
    schema = snapshot(
        {"public.x": {"a": column("integer", is_required=True), "b": "text"}},
        enums={"public.mood": ["'good'", "'bad'"]},
        indexes=[
            {"name": "i", "table": "public.x", "is_unique": True, "definition": "USING btree (a)"}
        ],
        objects={
            "domain public.d": {"definition": "AS integer", "conditions": ["NOT NULL"]},
            "view public.v": {"definition": " SELECT a\n   FROM public.x;", "columns": ["a"]},
        },
        statements={"publication p": "puballtables = true"},
    )
    schema["tables"]["public.x"]["constraints"]["c"] = "CHECK ((a > 0))"
    schema["tables"]["public.x"]["statements"] = ["ALTER TABLE public.x SET UNLOGGED"]
    assert render_lines(schema) == [
        "CREATE TYPE public.mood AS ENUM (",
        "    'good',",
        "    'bad',",
        ");",
        "CREATE TABLE public.x (",
        "    a integer NOT NULL,",
        "    b text,",
        "    CONSTRAINT c CHECK ((a > 0)),",
        ");",
        "ALTER TABLE public.x SET UNLOGGED;",
        "CREATE UNIQUE INDEX i ON public.x USING btree (a);",
        "-- domain public.d",
        "AS integer",
        "    NOT NULL",
        "-- view public.v",
        " SELECT a",
        "   FROM public.x;",
        "-- publication p",
        "puballtables = true",
    ]


def test_line_break_in_a_name_begins_a_new_line():
    lines = render_lines(snapshot({'public."a\nb"': {}}))
    assert lines == ['CREATE TABLE public."a', 'b" (', ");"]


def test_a_line_ends_at_a_line_feed_only():
    lines = render_lines(snapshot({'public."a\u2028b"': {}}))
    assert lines == ['CREATE TABLE public."a\u2028b" (', ");"]
    assert render_lines(snapshot({})) == []
