"""The administrator of the applications' databases, with the checks that need a connection.

`DatabaseAdmin` adds to `server.Server` (connections and locks), `databases.Databases` (roles and
databases) and `template_databases.TemplateDatabases` (templates and clones) the second layer of the
guard: it asks the server itself where a URL leads.
"""

from functools import cache

from psycopg.conninfo import make_conninfo

from host.postgres import guard
from host.postgres.guard import Target
from host.postgres.server import DatabaseIdentity, identify_database
from host.postgres.template_databases import TemplateDatabases


class DatabaseAdmin(TemplateDatabases):
    """Creates, clones, drops and checks databases; with `production` only production's."""

    def check_server(self, target: Target) -> None:
        """Check, before any DDL, that the target's host and port are those of our own server.

        Connects as the administrator: a slot's role may connect to its own database only, which
        may not exist yet. The administrator's own host and port need no check. Raises Refused
        `unsafe_database_target`, `database_unreachable`.
        """
        if guard.is_administrators_address(self.config, target):
            return
        admin_url = self.config.preview_admin_database_url
        # libpq prefers hostaddr over host, so one in the administrator's URL is removed.
        target_url = make_conninfo(admin_url, host=target.host, port=target.port, hostaddr="")
        with self.connection() as connection:
            row = connection.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
        if row != (identify_database(target_url).system,):
            raise guard.build_target_refusal(
                "db_target_is_another", "The URL leads to another server."
            )

    def check_target(self, target: Target, role: str, password: str) -> None:
        """Check, once the database exists, that the target's URL leads to it and no other.

        Raises Refused `unsafe_database_target` if the role reaches another database or server than
        the administrator does, or the control plane's database.
        """
        reached = identify_database(guard.server_url(target, role, password))
        with self.connection() as connection:
            row = connection.execute(
                "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = %s)"
                " FROM pg_control_system()",
                [target.database],
            ).fetchone()
        if self.config.database_url:
            control = _identify_control_plane(self.config.database_url)
            if (reached.system, reached.oid) == (control.system, control.oid):
                raise guard.build_target_refusal(
                    "db_target_is_control_plane", "The URL leads to the control plane's database."
                )
        if (reached.system, reached.oid, reached.name) != (*(row or (0, 0)), target.database):
            raise guard.build_target_refusal(
                "db_target_is_another", "The URL leads to another database."
            )


@cache
def _identify_control_plane(url: str) -> DatabaseIdentity:
    # Cached: it stays the same database for as long as this process runs on it.
    return identify_database(url)
