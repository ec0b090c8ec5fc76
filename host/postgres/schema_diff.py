"""What migrations did to a schema, read from pg_dump before and after. Pure.

What drops or narrows something cannot be taken back by going back to the old release: rows or
values are gone, or the old code's writes are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# What may hold any sign, line breaks too: strings and names (a doubled quote makes two of one), and
# bodies of functions.
STRING = r"""'[^']*'|"[^"]*\""""
QUOTED = rf"{STRING}|(?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*)?\$)[\s\S]*?(?P=dollar)"
NAME = r'(?:[^\s"(;]|"[^"]*")+'
STATEMENT_END = re.compile(rf"{QUOTED}|;$", re.MULTILINE)
ITEM_END = re.compile(rf"{STRING}|[()]|,\n")
BODY = rf"""(?:[^'"\n]*(?:{STRING}|\n(?!\))))*[^'"\n]*"""
TABLE = re.compile(rf"CREATE (?:UNLOGGED |FOREIGN )?TABLE ({NAME}) \(\n(?:({BODY})\n)?\)")
ADDED = re.compile(
    rf"ALTER (?:FOREIGN )?TABLE (?:ONLY )?({NAME})\s+ADD CONSTRAINT ({NAME}) (.+)", re.DOTALL
)
DEFAULT = re.compile(
    rf"ALTER (?:FOREIGN )?TABLE (?:ONLY )?({NAME}) ALTER COLUMN ({NAME}) SET DEFAULT (.+)",
    re.DOTALL,
)
IDENTITY = re.compile(rf"ALTER TABLE ({NAME}) ALTER COLUMN ({NAME}) ADD GENERATED", re.DOTALL)
INDEX = re.compile(rf"CREATE (UNIQUE )?INDEX ({NAME}) ON (?:ONLY )?({NAME}) (.+)", re.DOTALL)
ENUM = re.compile(rf"CREATE TYPE ({NAME}) AS ENUM \(\n(.*)\n\)", re.DOTALL)
TRIGGER = re.compile(
    rf"CREATE (?:CONSTRAINT )?(TRIGGER|POLICY|RULE) ({NAME}) .*?\bON ({NAME})", re.DOTALL
)
THING = re.compile(
    r"CREATE (?:OR REPLACE )?(?:UNLOGGED )?"
    r"(MATERIALIZED VIEW|VIEW|SEQUENCE|FUNCTION|PROCEDURE|AGGREGATE|TYPE|DOMAIN|SCHEMA|EXTENSION"
    rf"|FOREIGN TABLE|SERVER|COLLATION|OPERATOR|CAST) (?:IF NOT EXISTS )?({NAME})"
)
# What another statement is about, and which of them let fewer rows be seen or written.
SUBJECT = re.compile(rf"(?:ALTER|COMMENT ON) ([A-Z]+) (?:ONLY )?({NAME})")
ROW_SECURITY = re.compile(rf"ALTER TABLE (?:ONLY )?{NAME} (?:ENABLE|FORCE) ROW LEVEL SECURITY")
COMPOSITE = re.compile(rf"CREATE TYPE {NAME} AS \(\n(.*)\n\)", re.DOTALL)
SELECTED = re.compile(r"^ SELECT (.*?)(?=^   FROM |\Z)", re.DOTALL | re.MULTILINE)
SEQUENCE = re.compile(r"\n    AS (smallint|integer)\b|\n    MAXVALUE (-?\d+)")
MOST = {"smallint": 2**15 - 1, "integer": 2**31 - 1}
MOST_OF_ALL = 2**63 - 1
SHOWN_CHARACTERS = 200
LENGTH = re.compile(r"(character varying|character|bit varying|bit)(?:\((\d+)\))?(\[\])?")
NUMERIC = re.compile(r"numeric(?:\((\d+),(-?\d+)\))?(\[\])?")
COLUMN_END = re.compile(r" (?:DEFAULT|NOT NULL|CONSTRAINT|GENERATED|COLLATE|CHECK)\b")
# What holds every value of the type on the left.
WIDER = {
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
    """One difference: `kind` is drops, narrows, changes or adds; `text` says what, in a line."""

    kind: str
    text: str

    @property
    def is_irreversible(self) -> bool:
        return self.kind in ("drops", "narrows")


@dataclass
class _Column:
    type: str
    is_required: bool
    has_default: bool
    line: str


@dataclass
class _Schema:
    columns: dict[str, dict[str, _Column]] = field(default_factory=dict)
    constraints: dict[tuple[str, str], str] = field(default_factory=dict)
    indexes: dict[str, tuple[str, bool, str]] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    others: set[str] = field(default_factory=set)


def schema_changes(before: str, after: str) -> list[Change]:
    """Compare two outputs of `pgdump.schema`; what cannot be taken back comes first."""
    old, new = _read(before), _read(after)
    found = [
        *_tables(old, new),
        *_constraints(old, new),
        *_indexes(old, new),
        *_labels(old, new),
        *_things(old, new),
        *_others(old, new),
    ]
    order = ("drops", "narrows", "changes", "adds")
    told = [Change(change.kind, _line(change.text)) for change in found]  # names may have breaks
    return sorted(told, key=lambda change: (order.index(change.kind), change.text))


def statements(text: str) -> Iterator[str]:
    """Split a dump at the semicolons that end lines, not at those in function bodies or strings."""
    begun = 0
    for found in STATEMENT_END.finditer(text):
        if found[0] == ";":
            yield text[begun : found.start()].strip()
            begun = found.end()


def _read(text: str) -> _Schema:
    schema = _Schema()
    for statement in statements(text):
        _note(schema, statement)
    return schema


def _note(schema: _Schema, statement: str) -> None:
    if match := TABLE.match(statement):
        _note_table(schema, match[1], match[2] or "")
        if rest := statement[match.end() :].strip():
            schema.things[f"table {match[1]} storage"] = rest
    elif match := ADDED.match(statement):
        schema.constraints[match[1], match[2]] = match[3]
    elif match := DEFAULT.match(statement) or IDENTITY.match(statement):
        column = schema.columns.get(match[1], {}).get(match[2])
        if column is not None:
            column.has_default = True
            column.line += f" {_line(statement[match.end(2) :])}"
    elif match := INDEX.match(statement):
        schema.indexes[match[2]] = (match[3], bool(match[1]), match[4])
    elif match := ENUM.match(statement):
        schema.labels[match[1]] = list(_items(match[2]))
    elif match := TRIGGER.match(statement):
        schema.things[f"{match[1].lower()} {match[2]} on {match[3]}"] = statement
    elif match := THING.match(statement):
        schema.things[f"{match[1].lower()} {_signature(statement, match)}"] = statement
    else:
        schema.others.add(statement)


def _signature(statement: str, match: re.Match[str]) -> str:
    """Return a thing's name; a function's with its arguments, since names may repeat."""
    if match[1] not in ("FUNCTION", "PROCEDURE", "AGGREGATE"):
        return match[2]
    return statement[match.start(2) :].partition("\n")[0].partition(") RETURNS")[0].rstrip(" ;")


def _note_table(schema: _Schema, table: str, body: str) -> None:
    columns = schema.columns.setdefault(table, {})
    for item in _items(body):
        name, text = _named(item)
        if name == "CONSTRAINT":
            name, text = _named(text)
            schema.constraints[table, name] = text
            continue
        kind = COLUMN_END.split(text, maxsplit=1)[0].strip()
        bare = re.sub(STRING, "''", text)
        has_default = " DEFAULT " in f" {bare} " or " GENERATED " in f" {bare} "
        columns[name] = _Column(kind, "NOT NULL" in bare, has_default, text)


def _items(body: str) -> Iterator[str]:
    """Split at the commas that end lines, not at those in strings, names or parentheses."""
    begun = depth = 0
    for found in ITEM_END.finditer(body):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] == ",\n" and depth == 0:
            yield body[begun : found.start()].strip()
            begun = found.end()
    if last := body[begun:].strip():
        yield last


def _named(item: str) -> tuple[str, str]:
    """Return the name that the item begins with, and the rest."""
    match = re.match(NAME, item)
    end = match.end() if match else 0
    return item[:end], item[end:].strip()


def _tables(old: _Schema, new: _Schema) -> Iterator[Change]:
    for table in sorted(old.columns.keys() | new.columns.keys()):
        if table not in new.columns:
            yield Change("drops", f"drops table {table}")
        elif table not in old.columns:
            yield Change("adds", f"adds table {table}")
        else:
            yield from _columns(table, old.columns[table], new.columns[table])


def _columns(table: str, old: dict[str, _Column], new: dict[str, _Column]) -> Iterator[Change]:
    for name in sorted(old.keys() - new.keys()):
        yield Change("drops", f"drops column {table}.{name}")
    for name in sorted(new.keys() - old.keys()):
        if new[name].is_required and not new[name].has_default:
            yield Change("narrows", f"adds column {table}.{name}, required and without a default")
        else:
            yield Change("adds", f"adds column {table}.{name} ({new[name].type})")
    for name in sorted(old.keys() & new.keys()):
        yield from _column(f"{table}.{name}", old[name], new[name])


def _column(name: str, old: _Column, new: _Column) -> Iterator[Change]:
    found = list(_known(name, old, new))
    yield from found
    if not found and old.line != new.line:  # a default, a collation, how it is generated
        yield Change("changes", f"changes {name}: {_short(new.line)}")


def _known(name: str, old: _Column, new: _Column) -> Iterator[Change]:
    if old.type != new.type:
        kind = "changes" if holds(new.type, old.type) else "narrows"
        yield Change(kind, f"changes {name} from {old.type} to {new.type}")
    if new.is_required and not old.is_required:
        yield Change("narrows", f"makes {name} required")
    elif old.is_required and not new.is_required:
        yield Change("changes", f"makes {name} optional")
    if old.has_default and not new.has_default:
        kind = "narrows" if new.is_required else "changes"
        yield Change(kind, f"takes away the default of {name}")


def holds(wide: str, narrow: str) -> bool:
    """Say whether every value of the type `narrow` fits in `wide` and reads the same."""
    if wide == narrow:
        return True
    if "[]" in wide and "[]" in narrow:
        return holds(wide.replace("[]", ""), narrow.replace("[]", ""))
    length, wider = LENGTH.fullmatch(narrow), LENGTH.fullmatch(wide)
    if length and wide == "text":
        return "character" in narrow
    if narrow == "text":
        return wide == "character varying"
    if length and wider:
        return length[1] == wider[1] and _at_least(wider[2], length[2])
    number, larger = NUMERIC.fullmatch(narrow), NUMERIC.fullmatch(wide)
    if number and larger:
        return larger[1] is None or (number[1] is not None and _digits_fit(larger, number))
    return wide in WIDER.get(narrow, ())


def _at_least(wide: str | None, narrow: str | None) -> bool:
    return wide is None or (narrow is not None and int(wide) >= int(narrow))


def _digits_fit(wide: re.Match[str], narrow: re.Match[str]) -> bool:
    before, behind = int(narrow[1]) - int(narrow[2]), int(narrow[2])
    return int(wide[2]) >= behind and int(wide[1]) - int(wide[2]) >= before


def _constraints(old: _Schema, new: _Schema) -> Iterator[Change]:
    for key in sorted(old.constraints.keys() | new.constraints.keys()):
        table, name = key
        if table not in old.columns or table not in new.columns:
            continue  # it came or went with its table
        before, after = old.constraints.get(key), new.constraints.get(key)
        if after is None:
            yield Change("changes", f"drops constraint {name} of {table}")
        elif before is None:
            yield Change("narrows", f"adds constraint {name} to {table}: {_line(after)}")
        elif before != after:
            yield Change("narrows", f"changes constraint {name} of {table}: {_line(after)}")


def _indexes(old: _Schema, new: _Schema) -> Iterator[Change]:
    for name in sorted(old.indexes.keys() | new.indexes.keys()):
        before, after = old.indexes.get(name), new.indexes.get(name)
        if before == after:
            continue
        if after is None:
            yield Change("changes", f"drops index {name}")
        elif after[1] and after[0] in old.columns:
            yield Change("narrows", f"adds unique index {name} on {after[0]} {_line(after[2])}")
        else:
            yield Change("adds" if before is None else "changes", f"makes index {name}")


def _labels(old: _Schema, new: _Schema) -> Iterator[Change]:
    for name in sorted(old.labels.keys() | new.labels.keys()):
        if name not in new.labels:
            yield Change("drops", f"drops type {name}")
            continue
        if name not in old.labels:
            yield Change("adds", f"adds type {name}")
            continue
        for label in old.labels[name]:
            if label not in new.labels[name]:
                yield Change("drops", f"drops value {label} of {name}")
        for label in new.labels[name]:
            if label not in old.labels[name]:
                yield Change("changes", f"adds value {label} to {name}")


def _things(old: _Schema, new: _Schema) -> Iterator[Change]:
    for name in sorted(old.things.keys() | new.things.keys()):
        if name not in new.things:
            yield Change("drops", f"drops {name}")
        elif name not in old.things:
            yield Change("adds", f"adds {name}")
        elif old.things[name] != new.things[name]:
            yield _thing(name, old.things[name], new.things[name])


def _thing(name: str, old: str, new: str) -> Change:
    """Return how a thing that is still there has changed."""
    lost = [part for part in _parts(old) if part not in _parts(new)]
    if lost:
        return Change("drops", f"drops {', '.join(lost)} of {name}")
    if name.startswith("domain ") and not _conditions(new) <= _conditions(old):
        return Change("narrows", f"adds a condition to {name}")
    if name.startswith("sequence ") and _most(new) < _most(old):
        return Change("narrows", f"lowers the end of {name} to {_most(new)}")
    return Change("changes", f"changes {name}")


def _parts(statement: str) -> list[str]:
    """Return the columns of a composite type, a view or a materialized view."""
    if match := COMPOSITE.match(statement):
        return [_named(item)[0] for item in _items(match[1])]
    match = SELECTED.search(statement) if "VIEW" in statement.partition(" AS\n")[0] else None
    items = _items(match[1]) if match else ()
    return [item.split()[-1].rpartition(".")[2] for item in items if item]


def _conditions(domain: str) -> set[str]:
    """Return what a value of the domain must fulfil."""
    head, *conditions = (line.strip() for line in domain.split("\n"))
    return {*conditions, *(["NOT NULL"] if "NOT NULL" in head else [])}


def _most(sequence: str) -> int:
    """Return the last number of an ascending sequence."""
    ends = [int(most) if most else MOST[kind] for kind, most in SEQUENCE.findall(sequence)]
    return min(ends, default=MOST_OF_ALL)


def _others(old: _Schema, new: _Schema) -> Iterator[Change]:
    """Yield every other statement that came or went, unless it did so with what it is about."""
    for statement in old.others ^ new.others:
        subject = SUBJECT.match(statement)
        if subject and not (_has(old, subject) and _has(new, subject)):
            continue
        came = statement in new.others
        kind = "narrows" if came and ROW_SECURITY.match(statement) else "changes"
        yield Change(kind, f"{'adds' if came else 'takes away'}: {_short(statement)}")


def _has(schema: _Schema, subject: re.Match[str]) -> bool:
    """Say whether the table or the sequence is there; of what is neither we say yes."""
    if subject[1] == "TABLE":
        return subject[2] in schema.columns
    return subject[1] != "SEQUENCE" or f"sequence {subject[2]}" in schema.things


def _short(text: str) -> str:
    return _line(text)[:SHOWN_CHARACTERS]


def _line(text: str) -> str:
    return " ".join(text.split())
