"""Reads which extensions the applications' PostgreSQL server can create, and in which version."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from host.config import Config
from host.errors import Refused
from host.postgres.programs import server_programs

EMBEDDED_DATA = ("postgres", "data")  # below `var`
QUERY = (
    "SELECT name, bool_or(trusted OR NOT superuser)"
    " FROM pg_available_extension_versions GROUP BY name"
)


@dataclass(frozen=True)
class Available:
    """The extensions of a server of that major version.

    Each has whether the owner of a database may create it; of another one only a superuser may.
    `is_superuser`: the administrator's role is one.
    """

    version: int = 0
    extensions: Mapping[str, bool] = field(default_factory=dict)
    is_superuser: bool = False

    @property
    def creatable(self) -> Mapping[str, bool]:
        """Each extension with whether the administrator's role may create it."""
        return {name: self.is_superuser or may for name, may in self.extensions.items()}


def read_available(config: Config) -> Available:
    """Return the extensions of the running server. Raises Refused as `Server.connection`."""
    from host.postgres.server import Server  # psycopg takes 0.2 s to import

    with Server(config).connection() as connection:
        rows = connection.execute(QUERY).fetchall()
        is_superuser = connection.info.parameter_status("is_superuser") == "on"
        return Available(connection.info.server_version // 10000, dict(rows), is_superuser)


def foresee_available(config: Config) -> Available:
    """Return the extensions of the server that runs, else of the one that would be started.

    Of the distribution's server that does not run, and of another host's, nothing is known.
    """
    if config.preview_admin_database_url:
        try:
            return read_available(config)
        except Refused:
            pass  # it is not started
    if config.is_systemd:
        return Available()
    try:
        programs = server_programs.choose_for_cluster(
            config.var.joinpath(*EMBEDDED_DATA), server_programs.find_servers()
        )
    except Refused:
        return Available()
    return Available(programs.version, programs.list_extensions())
