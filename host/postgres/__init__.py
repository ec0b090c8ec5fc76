"""PostgreSQL: the database guard, roles and databases, schema snapshots and differences."""
