"""Template databases, the clones made from them, and one spare copy that makes a clone fast."""

from datetime import datetime

import psycopg
from psycopg import errors, sql

from host.errors import Refused
from host.postgres import guard
from host.postgres.databases import Databases, alter_database, end_sessions


class TemplateDatabases(Databases):
    """Seals templates and clones them. A template is sealed once its migrations have run."""

    def has_template(self, name: str) -> bool:
        """Return whether the template exists and is sealed."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT datistemplate FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
        return row is not None and bool(row[0])

    def seal_template(self, name: str) -> None:
        """End the template's sessions and refuse new ones for ever; may be repeated."""
        self._check_names(name, name)
        if guard.TEMPLATE_NAME.fullmatch(name) is None:
            raise Refused("unsafe_database_target", f"{name} is not a template's name.")
        with self.connection() as connection:
            # No session may begin between the end of the last one and the mark.
            alter_database(connection, name, "ALLOW_CONNECTIONS false")
            end_sessions(connection, name)
            alter_database(connection, name, "IS_TEMPLATE true")

    def list_templates(self) -> dict[str, datetime | None]:
        """Return the templates by name, unsealed ones too, with the time of
        `record_unneeded_since`."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE datname LIKE 'app\\_template\\_%' ORDER BY 1"
            ).fetchall()
        return {
            name: datetime.fromisoformat(comment) if comment else None
            for name, comment in rows
            if guard.TEMPLATE_NAME.fullmatch(name)
        }

    def record_unneeded_since(self, name: str, since: datetime | None) -> None:
        """Record since when no run needs the template; None if one needs it."""
        self._check_names(name)
        # In a comment, because PostgreSQL does not record when a database was created or used.
        comment = sql.Literal(since.isoformat() if since else None)
        statement = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), comment)
        with self.connection() as connection:
            connection.execute(statement)

    def clone(self, template: str, name: str, owner: str) -> None:
        """Replace the database `name` with a copy of a sealed template, owned by `owner`.

        Takes the spare copy if there is one. Raises Refused `template_missing`.
        """
        self._check_names(name, owner)
        is_template = guard.TEMPLATE_NAME.fullmatch(template) is not None
        with self.connection(), self.database_lock(name):
            if not (is_template and self.has_template(template)):
                raise Refused("template_missing", f"{template} is not a sealed template; build it.")
            self._drop_database(name)
            if not self._rename_spare(template, name):
                self._create_from(name, template)
            with self.connection(name) as connection:
                _reassign_objects(connection, owner)
            self._grant_access(name, owner)

    def ensure_spare(self, template: str) -> bool:
        """Create a spare copy of the sealed template unless it exists; drop those of others.

        Returns whether a copy was made. May be repeated, and interrupted.
        """
        spare = guard.spare_name(template)
        with self.connection():
            for name in self.list_pipeline_databases():
                if guard.SPARE_NAME.fullmatch(name) and name != spare:
                    self.drop(name)
            if self._allows_connections(spare) or not self.has_template(template):
                return False
            with self.database_lock(spare):
                if self._allows_connections(spare):
                    return False
                self.drop(spare)
                self._create_from(spare, template)
        return True

    def _rename_spare(self, template: str, name: str) -> bool:
        """Rename the template's spare copy to `name`; return False if there is none to take."""
        spare = guard.spare_name(template)
        names = {"spare": sql.Identifier(spare), "name": sql.Identifier(name)}
        with self.connection() as connection:
            if not self._allows_connections(spare):
                return False
            try:
                connection.execute(
                    sql.SQL("ALTER DATABASE {spare} RENAME TO {name}").format(**names)
                )
            except (errors.InvalidCatalogName, errors.ObjectInUse):  # another clone took it first
                return False
        return True


def _reassign_objects(connection: psycopg.Connection, owner: str) -> None:
    """Make `owner` the owner of everything that other applications' roles own in this database."""
    # The schemas first: a new owner must be allowed to create in the schema of what it gets.
    schemas = connection.execute(
        "SELECT nspname FROM pg_namespace JOIN pg_roles ON pg_roles.oid = nspowner"
        " WHERE NOT rolsuper AND nspname !~ '^pg_' AND rolname NOT IN (%s, current_user)",
        [owner],
    ).fetchall()
    owners = connection.execute(
        "SELECT DISTINCT rolname FROM pg_shdepend JOIN pg_roles ON pg_roles.oid = refobjid"
        " WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND NOT rolsuper"
        " AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND rolname NOT IN (%s, current_user)",
        [owner],
    ).fetchall()
    new_owner = sql.Identifier(owner)
    for (name,) in schemas:
        statement = sql.SQL("ALTER SCHEMA {} OWNER TO {}")
        connection.execute(statement.format(sql.Identifier(name), new_owner))
    for (name,) in owners:
        statement = sql.SQL("REASSIGN OWNED BY {} TO {}")
        connection.execute(statement.format(sql.Identifier(name), new_owner))
