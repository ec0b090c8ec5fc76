"""Roles and databases of applications: create, drop, and who may connect.

The administrator (CREATEDB, CREATEROLE, no superuser) owns every database. An application's role
owns the objects in its own database and may connect to no other. REASSIGN OWNED also reassigns
databases, but only those that the role owns: none. So an application can neither drop its database
nor let other roles connect to it.
"""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors, sql

from host.errors import Refused
from host.postgres import guard, roles_and_databases
from host.postgres.extension_refusals import explain_refused_extension
from host.postgres.server import Server

SESSION_END_SECONDS = 5
# A preview may take this many of the server's connections, unless PREVIEW_DATABASE_CONNECTIONS
# says otherwise; production has no limit.
ROLE_CONNECTIONS = 30
# From this size on, copying the files (with a checkpoint before and after) is faster than the WAL.
LARGE_BYTES = 64 * 1024 * 1024


class Databases(Server):
    """Creates and drops databases and roles, after the guard has checked their names."""

    def ensure_role(self, role: str, password: str | None = None) -> str:
        """Create the login role, or give it a new password and reset its settings.

        Returns the password: `password`, or a random one. Open sessions continue: see
        `end_sessions`.
        """
        guard.check_role(self.config, role)
        password = password or secrets.token_urlsafe(24)
        production = guard.list_production_roles(self.config)
        limit = -1 if role in production else self._read_connection_limit()
        with self.connection() as connection:
            # Hashed here, because the server may log statements.
            secret = connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            ).decode()
            exists = connection.execute(roles_and_databases.role_exists(role).encode()).fetchone()
            statement = roles_and_databases.write_role(
                role, exists=bool(exists), options=f"CONNECTION LIMIT {limit}", password=secret
            )
            name = sql.Identifier(role)
            with connection.transaction():
                connection.execute(statement.encode())
                connection.execute(sql.SQL("ALTER ROLE {} RESET ALL").format(name))
                # Since PostgreSQL 16 the creator of a role may administer it but not act as it.
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(name))
        return password

    def ensure_release_role(self, lock_timeout: int) -> str:
        """Create the role as which production's `release:` connects; returns its new password.

        It acts as production's role, so that the objects which it creates are that role's. Only its
        sessions wait for a lock for `lock_timeout` seconds at most, 0 is without a limit: the live
        application's wait as before.
        """
        owner, role = self.config.production_database, guard.release_role(self.config)
        names = {"owner": sql.Identifier(owner), "role": sql.Identifier(role)}
        password = self.ensure_role(role)
        with self.connection() as connection, connection.transaction():
            for statement in (
                "GRANT {owner} TO {role}",
                "ALTER ROLE {role} SET role = {owner}",
                "ALTER ROLE {role} SET lock_timeout = {timeout}",
            ):
                timeout = sql.Literal(f"{lock_timeout}s")
                connection.execute(sql.SQL(statement).format(**names, timeout=timeout))
        return password

    def reassign_release_objects(self) -> None:
        """Give production's role what its release role owns, as after a `DISCARD ALL`."""
        owner, role = self.config.production_database, guard.release_role(self.config)
        statement = sql.SQL("REASSIGN OWNED BY {} TO {}")
        with self.connection(owner) as connection:
            connection.execute(statement.format(sql.Identifier(role), sql.Identifier(owner)))

    @contextmanager
    def limit_lock_waits(self, name: str, role: str, seconds: int) -> Iterator[None]:
        """Let sessions of `role` that begin within the block wait for a lock for `seconds` at most.

        In the pipeline's database `name` only; 0 is without a limit.
        """
        guard.check_pipeline_name(self.config, name)
        guard.check_role(self.config, role)
        names = {"role": sql.Identifier(role), "name": sql.Identifier(name)}
        change = sql.SQL("ALTER ROLE {role} IN DATABASE {name} ").format(**names)
        with self.connection() as connection:
            connection.execute(change + sql.SQL("SET lock_timeout = {}").format(f"{seconds}s"))
        try:
            yield
        finally:
            # The next clone has no such setting: a server that is down is no further failure.
            with suppress(Refused), self.connection() as connection:
                connection.execute(change + sql.SQL("RESET lock_timeout"))

    def _read_connection_limit(self) -> int:
        return self.config.get_integer("PREVIEW_DATABASE_CONNECTIONS", ROLE_CONNECTIONS)

    def exists(self, name: str) -> bool:
        """Return whether a database of that name exists, complete or not."""
        with self.connection() as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return row.fetchone() is not None

    def list_pipeline_databases(self) -> list[str]:
        """Return the existing databases of slots, templates, spare copies and merge gates."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'app\\_%' ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows if guard.is_pipeline_database(self.config, name)]

    def is_ready(self, name: str, owner: str) -> bool:
        """Return whether the database is complete: `create` grants CONNECT as its last step."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT datallowconn AND has_database_privilege(%s, oid, 'CONNECT')"
                " FROM pg_database WHERE datname = %s"
                " AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %s)",
                [owner, name, owner],
            ).fetchone()
        return row is not None and bool(row[0])

    def create(self, name: str, owner: str) -> None:
        """Create an empty database for `owner`; an existing one is dropped first.

        Production's database is never dropped: if it exists, only its rights are set again.
        """
        self._check_names(name, owner)
        with self.connection():
            if not self.production:
                self._drop_database(name)
            if not self.exists(name):
                self._create_from(name, "template0")
            with self.connection(name) as connection:
                connection.execute(
                    sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner))
                )
            self._grant_access(name, owner)

    def create_extensions(self, name: str, owner: str, extensions: Iterable[str]) -> None:
        """Create these extensions in the database unless they exist.

        As its owner, so that it may change and dump them; those that only a superuser may create as
        the administrator. Raises Refused `extension_refused`, with what to do.
        """
        self._check_names(name, owner)
        for extension in extensions:
            with self.connection(name) as connection, connection.transaction():
                try:
                    _create_extension(connection, owner, extension)
                except (errors.FeatureNotSupported, errors.InsufficientPrivilege) as error:
                    detail = f"The extension {extension} was not created in {name}: {error}"
                    explained = explain_refused_extension(str(error))
                    raise Refused("extension_refused", f"{detail}\n{explained}".strip()) from error

    def end_sessions(self, name: str) -> bool:
        """End every session in the database; return whether none is left."""
        self._check_names(name)
        with self.connection() as connection:
            return end_sessions(connection, name)

    def drop(self, name: str) -> None:
        """End the database's sessions and drop it with its role, if it has one of its own.

        May be repeated. Refuses production's.
        """
        with self.connection():
            self._drop_database(name)
            if guard.has_own_role(name):
                self.drop_role(name)

    def drop_role(self, name: str) -> bool:
        """Drop the role of a template or a merge gate; return whether it is gone.

        It stays while something in another database depends on it, such as default privileges in
        a clone of its template.
        """
        if not guard.has_own_role(name):
            raise Refused("unsafe_database_target", f"{name!r} is not the role of one database.")
        with self.connection() as connection, suppress(errors.DependentObjectsStillExist):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
            return True
        return False

    def list_own_roles(self) -> list[str]:
        """Return the roles of templates and merge gates, those without a database too."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT rolname FROM pg_roles WHERE rolname LIKE 'app\\_%' ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows if guard.has_own_role(name)]

    def _drop_database(self, name: str) -> None:
        guard.check_pipeline_name(self.config, name)
        with self.connection() as connection:
            # PostgreSQL sets datconnlimit to -2 when a DROP DATABASE begins; after an interrupted
            # one the database can only be dropped, and ALTER DATABASE fails.
            row = connection.execute(
                "SELECT datconnlimit = -2 FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
            if row is None:
                return
            if not row[0]:
                alter_database(connection, name, "IS_TEMPLATE false ALLOW_CONNECTIONS false")
            end_sessions(connection, name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))

    def _check_names(self, name: str, owner: str | None = None) -> None:
        check = guard.check_production_name if self.production else guard.check_pipeline_name
        check(self.config, name)
        if owner is not None:
            guard.check_role(self.config, owner)

    def _create_from(self, name: str, template: str) -> None:
        """Copy the database `template`; no other role may connect to the copy at any moment."""
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        with self.connection() as connection:
            row = connection.execute("SELECT pg_database_size(%s)", [template]).fetchone()
            is_large = row is not None and row[0] > LARGE_BYTES
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}"
                    " ALLOW_CONNECTIONS false IS_TEMPLATE false"
                ).format(**names, strategy=sql.SQL("file_copy" if is_large else "wal_log"))
            )
            connection.execute(roles_and_databases.close_database(name).encode())
            alter_database(connection, name, "ALLOW_CONNECTIONS true")

    def _allows_connections(self, name: str) -> bool:
        """Return whether `_create_from` was completed: allowing connections is its last step."""
        with self.connection() as connection:
            row = connection.execute(
                "SELECT datallowconn FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
        return row is not None and bool(row[0])

    def _grant_access(self, name: str, owner: str) -> None:
        statement = "GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {owner}"
        names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
        with self.connection() as connection:
            connection.execute(sql.SQL(statement).format(**names))


def _create_extension(connection: psycopg.Connection, owner: str, extension: str) -> None:
    row = connection.execute(
        "SELECT bool_or(trusted OR NOT superuser) FROM pg_available_extension_versions"
        " WHERE name = %s",
        [extension],
    ).fetchone()
    if row is not None and row[0]:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {}")
    connection.execute(statement.format(sql.Identifier(extension)))


def alter_database(connection: psycopg.Connection, name: str, options: str) -> None:
    """Run ALTER DATABASE with these options, which are SQL of our own."""
    statement = sql.SQL("ALTER DATABASE {} " + options)
    connection.execute(statement.format(sql.Identifier(name)))


def end_sessions(connection: psycopg.Connection, name: str) -> bool:
    """End the sessions in the database and wait for each; return whether none is left."""
    rows = connection.execute(
        "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        [SESSION_END_SECONDS * 1000, name],
    ).fetchall()
    return all(has_ended for (has_ended,) in rows)
