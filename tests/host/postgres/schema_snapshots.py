"""Schema snapshots that are made for a test."""

from host.postgres import schema_snapshot


def column(type_name, **values):
    """Return a column; `definition` is the type and what else the values say."""
    is_required = values.get("is_required", False)
    default = {"has_default": False, "is_required": False}
    definition = f"{type_name} NOT NULL" if is_required else type_name
    return {"type": type_name, "definition": definition, **default, **values}


def snapshot(tables=None, **parts):
    """Return a snapshot; `tables` maps names to columns by name, which may be a type's name."""
    found = {
        name: {
            "columns": {
                one: column(value) if isinstance(value, str) else value
                for one, value in columns.items()
            },
            "constraints": {},
            "statements": [],
        }
        for name, columns in (tables or {}).items()
    }
    empty = {"indexes": [], "enums": {}, "objects": {}, "statements": {}}
    return {"version": schema_snapshot.VERSION, "tables": found, **empty, **parts}


def snapshot_text(tables=None, **parts):
    """Return the JSON text of a snapshot, as artifacts have it."""
    return schema_snapshot.to_json(snapshot(tables, **parts))
