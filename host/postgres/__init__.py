"""PostgreSQL: the database guard, roles and databases, dumps, schema differences."""
