"""The differences between two snapshots of a schema. No I/O.

A change that drops or narrows something is irreversible: a rollback to the old release does not
undo it, because rows or values are lost, or the schema refuses what the old code writes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from host.postgres.schema_snapshot import Column, Index, SchemaObject, Snapshot

TEXT_CHARACTERS = 200
TYPE_WITH_LENGTH = re.compile(r"(character varying|character|bit varying|bit)(?:\((\d+)\))?(\[\])?")
NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?(\[\])?")
# The types that can hold every value of the type on the left.
WIDER_TYPES = {
    "smallint": {"integer", "bigint", "numeric"},
    "integer": {"bigint", "numeric"},
    "bigint": {"numeric"},
    "real": {"double precision"},
    "date": {"timestamp without time zone", "timestamp with time zone"},
    "json": {"jsonb", "text"},
    "uuid": {"text"},
    "inet": {"text"},
}


@dataclass(frozen=True)
class Change:
    """One difference: `kind` is drops, narrows, changes or adds; `text` is one line for people."""

    kind: str
    text: str

    @property
    def is_irreversible(self) -> bool:
        return self.kind in ("drops", "narrows")


def compare_schemas(old: Snapshot, new: Snapshot) -> list[Change]:
    """Return what differs between two snapshots; irreversible changes come first."""
    found = [
        *_compare_tables(old, new),
        *_compare_constraints(old, new),
        *_compare_indexes(old, new),
        *_compare_enums(old, new),
        *_compare_objects(old, new),
        *_compare_table_statements(old, new),
        *_compare_statements(old, new),
    ]
    order = ("drops", "narrows", "changes", "adds")
    # A quoted name may contain line breaks.
    changes = [Change(change.kind, _join_lines(change.text)) for change in found]
    return sorted(changes, key=lambda change: (order.index(change.kind), change.text))


def _compare_tables(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["tables"], new["tables"]
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield Change("drops", f"drops table {name}")
        elif name not in before:
            yield Change("adds", f"adds table {name}")
        else:
            yield from _compare_columns(name, before[name]["columns"], after[name]["columns"])


def _compare_columns(
    table: str, old: dict[str, Column], new: dict[str, Column]
) -> Iterator[Change]:
    for name in sorted(old.keys() - new.keys()):
        yield Change("drops", f"drops column {table}.{name}")
    for name in sorted(new.keys() - old.keys()):
        if new[name]["is_required"] and not new[name]["has_default"]:
            yield Change("narrows", f"adds column {table}.{name}, required and without a default")
        else:
            yield Change("adds", f"adds column {table}.{name} ({new[name]['type']})")
    for name in sorted(old.keys() & new.keys()):
        yield from _compare_column(f"{table}.{name}", old[name], new[name])


def _compare_column(name: str, old: Column, new: Column) -> Iterator[Change]:
    found = list(_compare_column_values(name, old, new))
    yield from found
    if not found and old != new:  # a default, a collation, how it is generated
        yield Change("changes", f"changes {name}: {_shorten(new['definition'])}")


def _compare_column_values(name: str, old: Column, new: Column) -> Iterator[Change]:
    """Yield what changes the values that the column accepts."""
    if old["type"] != new["type"]:
        kind = "changes" if can_hold(new["type"], old["type"]) else "narrows"
        yield Change(kind, f"changes {name} from {old['type']} to {new['type']}")
    if new["is_required"] and not old["is_required"]:
        yield Change("narrows", f"makes {name} required")
    elif old["is_required"] and not new["is_required"]:
        yield Change("changes", f"makes {name} optional")
    if old["has_default"] and not new["has_default"]:
        kind = "narrows" if new["is_required"] else "changes"
        yield Change(kind, f"removes the default of {name}")


def can_hold(wide: str, narrow: str) -> bool:
    """Return whether every value of the type `narrow` fits in `wide` and reads the same."""
    if wide == narrow:
        return True
    if "[]" in wide and "[]" in narrow:
        return can_hold(wide.replace("[]", ""), narrow.replace("[]", ""))
    length, wider = TYPE_WITH_LENGTH.fullmatch(narrow), TYPE_WITH_LENGTH.fullmatch(wide)
    if length and wide == "text":
        return "character" in narrow
    if narrow == "text":
        return wide == "character varying"
    if length and wider:
        return length[1] == wider[1] and _is_length_enough(wider[2], length[2])
    number, larger = NUMERIC.fullmatch(narrow), NUMERIC.fullmatch(wide)
    if number and larger:
        return larger[1] is None or (number[1] is not None and _are_digits_enough(larger, number))
    return wide in WIDER_TYPES.get(narrow, ())


def _is_length_enough(wide: str | None, narrow: str | None) -> bool:
    return wide is None or (narrow is not None and int(wide) >= int(narrow))


def _are_digits_enough(wide: re.Match[str], narrow: re.Match[str]) -> bool:
    precision, scale = int(narrow[1]), int(narrow[2])
    wide_precision, wide_scale = int(wide[1]), int(wide[2])
    return wide_scale >= scale and wide_precision - wide_scale >= precision - scale


def _compare_constraints(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    # Those of other tables are created or dropped with their table.
    for table in sorted(old["tables"].keys() & new["tables"].keys()):
        before, after = old["tables"][table]["constraints"], new["tables"][table]["constraints"]
        for name in sorted(before.keys() | after.keys()):
            if name not in after:
                yield Change("changes", f"drops constraint {name} of {table}")
            elif name not in before:
                yield Change("narrows", f"adds constraint {name} to {table}: {after[name]}")
            elif before[name] != after[name]:
                yield Change("narrows", f"changes constraint {name} of {table}: {after[name]}")


def _compare_indexes(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = _list_indexes(old), _list_indexes(new)
    for key in sorted(before.keys() | after.keys()):
        table, name = key
        index = after.get(key)
        if before.get(key) == index:
            continue
        if index is None:
            yield Change("changes", f"drops index {name}")
        elif index["is_unique"] and table in old["tables"]:
            definition = index["definition"]
            yield Change("narrows", f"adds unique index {name} on {table} {definition}")
        elif key not in before:
            yield Change("adds", f"creates index {name}")
        else:
            yield Change("changes", f"changes index {name}")


def _list_indexes(schema: Snapshot) -> dict[tuple[str, str], Index]:
    return {(index["table"], index["name"]): index for index in schema["indexes"]}


def _compare_enums(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["enums"], new["enums"]
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield Change("drops", f"drops type {name}")
        elif name not in before:
            yield Change("adds", f"adds type {name}")
        else:
            yield from _compare_labels(name, before[name], after[name])


def _compare_labels(enum: str, old: list[str], new: list[str]) -> Iterator[Change]:
    for label in old:
        if label not in new:
            yield Change("drops", f"drops value {label} of {enum}")
    for label in new:
        if label not in old:
            yield Change("changes", f"adds value {label} to {enum}")
    if [one for one in old if one in new] != [one for one in new if one in old]:
        yield Change("changes", f"changes the order of the values of {enum}")


def _compare_objects(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["objects"], new["objects"]
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield Change("drops", f"drops {name}")
        elif name not in before:
            yield Change("adds", f"adds {name}")
        elif before[name] != after[name]:
            yield _compare_object(name, before[name], after[name])


def _compare_object(name: str, old: SchemaObject, new: SchemaObject) -> Change:
    """Return how an object of both schemas has changed."""
    columns = new.get("columns", [])
    dropped = [column for column in old.get("columns", []) if column not in columns]
    if dropped:
        return Change("drops", f"drops {', '.join(dropped)} of {name}")
    if not can_hold(new.get("type", ""), old.get("type", "")):
        return Change("narrows", f"changes {name} from {old.get('type')} to {new.get('type')}")
    if not set(new.get("conditions", [])) <= set(old.get("conditions", [])):
        return Change("narrows", f"adds a condition to {name}")
    return _compare_ranges(name, old, new) or Change("changes", f"changes {name}")


def _compare_ranges(name: str, old: SchemaObject, new: SchemaObject) -> Change | None:
    """Return how a sequence ends earlier than before; None if it does not."""
    before, after = old.get("range"), new.get("range")
    if before is None or after is None:
        return None
    if after["increment"] > 0 and after["maximum"] < before["maximum"]:
        return Change("narrows", f"lowers the maximum of {name} to {after['maximum']}")
    if after["increment"] < 0 and after["minimum"] > before["minimum"]:
        return Change("narrows", f"raises the minimum of {name} to {after['minimum']}")
    return None


def _compare_table_statements(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    for table in sorted(old["tables"].keys() & new["tables"].keys()):
        before = set(old["tables"][table]["statements"])
        after = set(new["tables"][table]["statements"])
        for statement in sorted(after - before):
            # Row security hides rows, or refuses them.
            kind = "narrows" if statement.endswith(" ROW LEVEL SECURITY") else "changes"
            yield Change(kind, f"adds: {_shorten(statement)}")
        for statement in sorted(before - after):
            yield Change("changes", f"removes: {_shorten(statement)}")


def _compare_statements(old: Snapshot, new: Snapshot) -> Iterator[Change]:
    before, after = old["statements"], new["statements"]
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield Change("changes", f"removes {name}")
        elif name not in before:
            yield Change("changes", f"adds {name}")
        elif before[name] != after[name]:
            yield Change("changes", f"changes {name}")


def _shorten(text: str) -> str:
    return _join_lines(text)[:TEXT_CHARACTERS]


def _join_lines(text: str) -> str:
    return " ".join(text.split())
