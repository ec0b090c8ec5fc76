"""The databases of slots, templates, gates and production, and the roles that may reach them.

The admin (CREATEDB, CREATEROLE, no superuser) owns every database; an application's role owns
what is in its own and may connect to no other. So REASSIGN OWNED, which also moves databases,
stays within the database it runs in, and an application cannot drop or open up its own.
Works on PostgreSQL 15 to 18. psycopg takes 0.2 s to import: import this module where it is used.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import make_conninfo

from host.config import Config
from host.errors import Refused
from host.postgres import guard
from host.postgres.guard import Target

CONNECT_SECONDS = 10
SESSION_END_SECONDS = 5
LOOK_SECONDS = 0.1
# What one preview may take of the server's connections; production has no limit.
ROLE_CONNECTIONS = 30
# Above this the files are copied, with a checkpoint before and after; below it that costs more.
LARGE_BYTES = 64 * 1024 * 1024

Statement = sql.Composed | sql.SQL

# The connection to the server whose `connected` this thread is in, with its URL.
_OPEN: ContextVar[tuple[str, psycopg.Connection] | None] = ContextVar("_OPEN", default=None)


@dataclass(frozen=True)
class Identity:
    """Which database that is, whatever it was called on the way."""

    system: int
    oid: int
    name: str
    role: str


@dataclass(frozen=True)
class Admin:
    """Makes and unmakes databases and roles; with `production` it knows only production's."""

    config: Config
    production: bool = False

    @contextmanager
    def connected(self, database: str | None = None) -> Iterator[psycopg.Connection]:
        """Connect to the server, or to one of its databases.

        What is done within the body on the server shares its connection: each costs some
        milliseconds, most of them for the password. Raises Refused `setting_invalid`,
        `database_unreachable`, `database_rights_missing`, `disk_full`.
        """
        url = self.config.preview_admin_database_url
        if not url:
            raise Refused("setting_invalid", "PREVIEW_ADMIN_DATABASE_URL is not set.")
        is_open = _OPEN.get()
        if database is None and is_open is not None and is_open[0] == url:
            yield is_open[1]
            return
        with _connection(url, database) as connection:
            if database is not None:
                yield connection
                return
            token = _OPEN.set((url, connection))
            try:
                yield connection
            finally:
                _OPEN.reset(token)

    def ensure_role(self, role: str, password: str | None = None) -> str:
        """Make the login role, or renew it: a new password (or that one), its settings forgotten.

        Returns the password. Sessions of the old one go on: see `end_sessions`.
        """
        guard.check_role(self.config, role)
        password = password or secrets.token_urlsafe(24)
        limit = -1 if role == self.config.production_database else ROLE_CONNECTIONS
        with self.connected() as connection:
            # Hashed here: the server's log may show statements.
            secret = connection.pgconn.encrypt_password(
                password.encode(), role.encode(), b"scram-sha-256"
            ).decode()
            found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
            verb = "ALTER ROLE {role}" if found.fetchone() else "CREATE ROLE {role} LOGIN"
            options = " CONNECTION LIMIT {limit} PASSWORD {secret}"
            names = {"role": sql.Identifier(role), "limit": sql.Literal(limit)}
            with connection.transaction():
                literal = sql.Literal(secret)
                connection.execute(sql.SQL(verb + options).format(**names, secret=literal))
                connection.execute(sql.SQL("ALTER ROLE {role} RESET ALL").format(**names))
                # From 16 on, who creates a role may administer it but not act as it.
                connection.execute(sql.SQL("GRANT {role} TO CURRENT_USER").format(**names))
        return password

    def exists(self, name: str) -> bool:
        """Say whether there is a database of that name, whole or not."""
        with self.connected() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return found.fetchone() is not None

    def names(self) -> list[str]:
        """Return the pipeline's databases that are there: slots', templates', gates'."""
        with self.connected() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE datname LIKE 'app\\_%' ORDER BY 1"
            ).fetchall()
        return [name for (name,) in rows if guard.is_pipelines(self.config, name)]

    def ready(self, name: str, owner: str) -> bool:
        """Say whether the database is whole: its role is let in as the last thing of all."""
        with self.connected() as connection:
            row = connection.execute(
                "SELECT datallowconn AND has_database_privilege(%s, oid, 'CONNECT')"
                " FROM pg_database WHERE datname = %s"
                " AND EXISTS (SELECT 1 FROM pg_roles WHERE rolname = %s)",
                [owner, name, owner],
            ).fetchone()
        return row is not None and bool(row[0])

    def create(self, name: str, owner: str) -> None:
        """Create an empty database for `owner`, in place of what was there.

        Production's is never replaced: there the rights alone are set again.
        """
        self._checked(name, owner)
        with self.connected():
            if not self.production:
                self.drop(name)
            if not self.exists(name):
                self._create(name, "template0")
            with self.connected(name) as connection:
                connection.execute(
                    sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner))
                )
            self._let_in(name, owner)

    def template_exists(self, name: str) -> bool:
        """Say whether the template is there and sealed; a half-built one is not."""
        with self.connected() as connection:
            row = connection.execute(
                "SELECT datistemplate FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
        return row is not None and bool(row[0])

    def seal_template(self, name: str) -> None:
        """Close the database for ever, to be cloned only. May be repeated."""
        self._checked(name, guard.TEMPLATE_ROLE)
        if guard.TEMPLATE_NAME.fullmatch(name) is None:
            raise Refused("unsafe_database_target", f"{name} is not a template's name.")
        with self.connected() as connection:
            _alter(connection, name, "ALLOW_CONNECTIONS false")
            _end_sessions(connection, name)
            _alter(connection, name, "IS_TEMPLATE true")

    def templates(self) -> dict[str, datetime | None]:
        """Return the templates, half-built ones too, and since when they are noted unneeded."""
        with self.connected() as connection:
            rows = connection.execute(
                "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"
                " WHERE datname LIKE 'app\\_template\\_%' ORDER BY 1"
            ).fetchall()
        return {
            name: datetime.fromisoformat(said) if said else None
            for name, said in rows
            if guard.TEMPLATE_NAME.fullmatch(name)
        }

    def note_unneeded(self, name: str, since: datetime | None) -> None:
        """Note since when nobody needs the template; PostgreSQL does not know a database's age."""
        self._checked(name, guard.TEMPLATE_ROLE)
        said = sql.Literal(since.isoformat() if since else None)
        statement = sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), said)
        with self.connected() as connection:
            connection.execute(statement)

    def clone(self, template: str, name: str, owner: str) -> None:
        """Make `name` a copy of a sealed template, owned by `owner`, in place of what was there.

        The spare copy is taken where there is one.
        """
        self._checked(name, owner)
        is_template = guard.TEMPLATE_NAME.fullmatch(template) is not None
        with self.connected(), self.exclusively(name):
            if not (is_template and self.template_exists(template)):
                raise Refused("template_missing", f"{template} is not a sealed template; build it.")
            self.drop(name)
            if not self._take_spare(template, name):
                self._create(name, template)
            with self.connected(name) as connection:
                _hand_over(connection, owner)
            self._let_in(name, owner)

    def keep_spare(self, template: str) -> bool:
        """Have one copy of the sealed template ready for its next clone; drop other templates'.

        Returns whether a copy was made. May be repeated, and interrupted.
        """
        spare = guard.spare_name(template)
        with self.connected():
            for name in self.names():
                if guard.SPARE_NAME.fullmatch(name) and name != spare:
                    self.drop(name)
            if self._is_open(spare) or not self.template_exists(template):
                return False
            with self.exclusively(spare):
                if self._is_open(spare):
                    return False
                self.drop(spare)
                self._create(spare, template)
        return True

    def end_sessions(self, name: str) -> bool:
        """End every session in the database; returns whether none is left."""
        self._checked(name)
        with self.connected() as connection:
            return _end_sessions(connection, name)

    def drop(self, name: str) -> None:
        """End the database's sessions and drop it. May be repeated. Never production's."""
        guard.check_name(self.config, name)
        with self.connected() as connection:
            row = connection.execute(
                "SELECT datconnlimit = -2 FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
            if row is None:
                return
            if not row[0]:  # else a drop was interrupted, and only a drop is left
                _alter(connection, name, "IS_TEMPLATE false ALLOW_CONNECTIONS false")
            _end_sessions(connection, name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))

    def check_server(self, target: Target) -> None:
        """Ask the server at the target's host and port, before any DDL, whether it is ours.

        It is asked as the admin: a slot's role may connect to its own database only, and that
        may not be there yet. The admin's own host and port need no question. Raises Refused
        `unsafe_database_target`, `database_unreachable`.
        """
        admin = self.config.preview_admin_database_url
        ours = guard.parse(admin)
        place = (ours.get("host"), ours.get("port", "5432"))
        if place == (target.host, str(target.port)) and "hostaddr" not in ours:
            return
        # An address in the admin's URL would win over the host.
        there = make_conninfo(admin, host=target.host, port=target.port, hostaddr="")
        with self.connected() as connection:
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
        if row != (identity(there).system,):
            raise guard.unsafe("db_target_is_another", "The URL leads to another server.")

    def check_target(self, target: Target, role: str, password: str) -> None:
        """Ask the server itself where the target's URL leads: once the database is there.

        Raises Refused `unsafe_database_target` if it is another database or server than the
        admin's, or the control plane's.
        """
        found = identity(guard.server_url(target, role, password))
        with self.connected() as connection:
            row = connection.execute(
                "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = %s)"
                " FROM pg_control_system()",
                [target.database],
            ).fetchone()
        if self.config.database_url:
            control = _control(self.config.database_url)
            if (found.system, found.oid) == (control.system, control.oid):
                raise guard.unsafe("db_target_is_control_plane", "That is our own database.")
        if (found.system, found.oid, found.name) != (*(row or (0, 0)), target.database):
            raise guard.unsafe("db_target_is_another", "The URL leads to another database.")

    @contextmanager
    def exclusively(self, name: str, check: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Wait until nobody else does `name`, on any host; ends with our process at the latest.

        `check` is called while waiting, and ends that by what it raises.
        """
        take = "SELECT pg_try_advisory_lock(hashtext(%s))"
        words = [f"oroboros:{name}"]
        with self.connected() as connection:
            while connection.execute(take, words).fetchone() != (True,):
                check()
                time.sleep(LOOK_SECONDS)
            try:
                yield
            finally:
                # The connection may be an outer one, which goes on; one that is lost has no lock.
                with suppress(psycopg.OperationalError):
                    connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", words)

    def _checked(self, name: str, owner: str | None = None) -> None:
        check = guard.check_production_name if self.production else guard.check_name
        check(self.config, name)
        if owner is not None:
            guard.check_role(self.config, owner)

    def _create(self, name: str, template: str) -> None:
        """Create the database, closed to all but us from its first moment."""
        names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
        with self.connected() as connection:
            row = connection.execute("SELECT pg_database_size(%s)", [template]).fetchone()
            is_large = row is not None and row[0] > LARGE_BYTES
            connection.execute(
                sql.SQL(
                    "CREATE DATABASE {name} TEMPLATE {template} STRATEGY {strategy}"
                    " ALLOW_CONNECTIONS false IS_TEMPLATE false"
                ).format(**names, strategy=sql.SQL("file_copy" if is_large else "wal_log"))
            )
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
            _alter(connection, name, "ALLOW_CONNECTIONS true")

    def _is_open(self, name: str) -> bool:
        """Say whether `_create` came to its end: the database is open to us as the last thing."""
        with self.connected() as connection:
            row = connection.execute(
                "SELECT datallowconn FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
        return row is not None and bool(row[0])

    def _take_spare(self, template: str, name: str) -> bool:
        """Make the template's spare copy that database; False if there is none to be had."""
        spare = guard.spare_name(template)
        names = {"spare": sql.Identifier(spare), "name": sql.Identifier(name)}
        with self.connected() as connection:
            if not self._is_open(spare):
                return False
            try:
                connection.execute(
                    sql.SQL("ALTER DATABASE {spare} RENAME TO {name}").format(**names)
                )
            except (errors.InvalidCatalogName, errors.ObjectInUse):  # another clone was quicker
                return False
        return True

    def _let_in(self, name: str, owner: str) -> None:
        names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
        with self.connected() as connection:
            connection.execute(
                sql.SQL("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {owner}").format(
                    **names
                )
            )


@cache
def _control(url: str) -> Identity:
    """Say which database the control plane's is: the same one for as long as we run on it."""
    return identity(url)


def identity(url: str) -> Identity:
    """Connect and ask which database that is."""
    with _connection(url) as connection:
        row = connection.execute(
            "SELECT system_identifier, oid, datname, current_user"
            " FROM pg_control_system(), pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None  # noqa: S101 — every session is in a database
    return Identity(*row)


def close_to_public(superuser_url: str, databases: Mapping[str, Iterable[str]]) -> None:
    """Let only the named roles connect to each database. May be repeated; for the set-up.

    PostgreSQL lets every role connect to every database, `postgres` and `template1` too.
    """
    with _connection(superuser_url) as connection:
        for name, roles in databases.items():
            names = {"name": sql.Identifier(name)}
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**names))
            for role in roles:
                connection.execute(
                    sql.SQL("GRANT CONNECT ON DATABASE {name} TO {role}").format(
                        **names, role=sql.Identifier(role)
                    )
                )


@contextmanager
def _connection(url: str, database: str | None = None) -> Iterator[psycopg.Connection]:
    """Connect, without a transaction. What the server lacks is said with a code."""
    options = {"connect_timeout": str(CONNECT_SECONDS), "application_name": "oroboros"}
    if database is not None:
        options["dbname"] = database
    try:
        with psycopg.connect(make_conninfo(url, **options), autocommit=True) as connection:
            yield connection
    except errors.DiskFull as error:
        raise Refused("disk_full", f"PostgreSQL has no room: {_said(error)}") from error
    except errors.InsufficientPrivilege as error:
        detail = f"PostgreSQL refused: {_said(error)}. See PREVIEW_ADMIN_DATABASE_URL."
        raise Refused("database_rights_missing", detail) from error
    except psycopg.OperationalError as error:
        raise Refused("database_unreachable", _said(error), status=503) from error
    except psycopg.InternalError as error:  # such as a checkpoint for which there is no room
        detail = f"PostgreSQL failed, and its own log says why: {_said(error)}."
        raise Refused("database_failed", detail, status=503) from error


def _said(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).strip().partition("\n")[0]


def _alter(connection: psycopg.Connection, name: str, change: str) -> None:
    statement = sql.SQL("ALTER DATABASE {} " + change)
    connection.execute(statement.format(sql.Identifier(name)))


def _hand_over(connection: psycopg.Connection, owner: str) -> None:
    """Give all that other applications' roles own in this database to `owner`."""
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
    to = sql.Identifier(owner)
    for (name,) in schemas:
        change = sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(name), to)
        connection.execute(change)
    for (name,) in owners:
        connection.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(sql.Identifier(name), to))


def _end_sessions(connection: psycopg.Connection, name: str) -> bool:
    """End the sessions and wait for each; returns whether none is left."""
    rows = connection.execute(
        "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity"
        " WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
        [SESSION_END_SECONDS * 1000, name],
    ).fetchall()
    return all(ended for (ended,) in rows)
