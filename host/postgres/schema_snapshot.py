"""A database's schema as plain values: what it holds, as JSON, and as lines for people. No I/O.

Names are quoted as in SQL where they need it, and those of tables and objects have their schema.
"""

import json
from collections.abc import Iterator
from typing import NotRequired, TypedDict

VERSION = 1


class Column(TypedDict):
    """`definition` is everything after the column's name in CREATE TABLE, its type included."""

    type: str
    is_required: bool
    has_default: bool
    definition: str


class Table(TypedDict):
    """`statements` are those that CREATE TABLE does not express, such as for row security."""

    columns: dict[str, Column]
    constraints: dict[str, str]
    statements: list[str]


class Index(TypedDict):
    """An index that belongs to no constraint; `definition` begins with USING."""

    name: str
    table: str
    is_unique: bool
    definition: str


class SequenceRange(TypedDict):
    """The numbers of a sequence; it descends if `increment` is negative."""

    increment: int
    minimum: int
    maximum: int


class SchemaObject(TypedDict):
    """`columns`: of views and composite types; `conditions`, `type`: of domains."""

    definition: str
    columns: NotRequired[list[str]]
    conditions: NotRequired[list[str]]
    type: NotRequired[str]
    range: NotRequired[SequenceRange]


class Snapshot(TypedDict):
    """Keys of `objects` and `statements` begin with the kind: `view public.latest`."""

    version: int
    tables: dict[str, Table]
    indexes: list[Index]
    enums: dict[str, list[str]]
    objects: dict[str, SchemaObject]
    statements: dict[str, str]


def to_json(snapshot: Snapshot) -> str:
    """Return the snapshot as JSON text: the same text for the same schema."""
    return json.dumps(snapshot, indent=1) + "\n"


def from_json(text: str) -> Snapshot:
    """Return the snapshot of a text of `to_json`. Raises ValueError for any other text."""
    snapshot: Snapshot = json.loads(text)
    if not isinstance(snapshot, dict) or snapshot.get("version") != VERSION:
        raise ValueError(f"This is not a schema snapshot of version {VERSION}.")
    return snapshot


def render_lines(snapshot: Snapshot) -> list[str]:
    """Return the schema as lines in the manner of SQL, for a diff that people read.

    psql cannot run them: every column ends with a comma, so that a new last one changes one line.
    """
    text = "\n".join(_render(snapshot))
    # Not splitlines(): a name or a comment would be shown as lines of its own.
    return text.split("\n") if text else []


def _render(snapshot: Snapshot) -> Iterator[str]:
    for name, labels in snapshot["enums"].items():
        yield f"CREATE TYPE {name} AS ENUM ("
        yield from (f"    {label}," for label in labels)
        yield ");"
    for name, table in snapshot["tables"].items():
        yield from _render_table(name, table)
    for index in snapshot["indexes"]:
        unique = "UNIQUE " if index["is_unique"] else ""
        yield f"CREATE {unique}INDEX {index['name']} ON {index['table']} {index['definition']};"
    for name, one in snapshot["objects"].items():
        yield f"-- {name}"
        yield from one["definition"].removesuffix("\n").split("\n")
        yield from (f"    {condition}" for condition in one.get("conditions", ()))
    for name, definition in snapshot["statements"].items():
        yield f"-- {name}"
        yield definition


def _render_table(name: str, table: Table) -> Iterator[str]:
    yield f"CREATE TABLE {name} ("
    yield from (f"    {column} {one['definition']}," for column, one in table["columns"].items())
    yield from (f"    CONSTRAINT {one} {text}," for one, text in table["constraints"].items())
    yield ");"
    yield from (f"{statement};" for statement in table["statements"])
