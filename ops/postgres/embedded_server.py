"""The embedded PostgreSQL: a cluster of our own, on 127.0.0.1 with passwords.

Its programs are the host's, which have all extensions, else a wheel's. Roles log in with a password
(SCRAM) and there is no Unix socket: with `trust` or `peer`, one slot's role could log in as
another's.
"""

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from host import loopback
from host.errors import Refused
from host.postgres import roles_and_databases
from host.postgres.programs import server_programs
from host.postgres.programs.server_programs import Programs
from host.postgres.roles_and_databases import Execute
from host.process import runner, socket_owner
from host.process.users import User, find_nobody

START_SECONDS = 60.0
STATUS_SECONDS = 10.0
LOG_CHARACTERS = 2000
# 200 connections: each role of a slot may hold 30 (ROLE_CONNECTIONS), the control plane some 40.
SETTINGS = """
unix_socket_directories = ''
max_connections = 200
shared_buffers = 128MB
password_encryption = 'scram-sha-256'
logging_collector = off
log_timezone = 'UTC'
timezone = 'UTC'
"""


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL cluster in `folder`, owned by `user` (None: the user of this process).

    `server` are the programs to use in place of those that are chosen.
    """

    folder: Path
    port: int
    user: User | None
    server: Programs | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @cached_property
    def programs(self) -> Programs:
        """The programs of its server. Raises Refused `postgres_missing`."""
        if self.server is not None:
            return self.server
        return server_programs.choose_for_cluster(self.data, server_programs.find_servers())

    @cached_property
    def password(self) -> str:
        """The superuser's password, generated once; only the checkout's owner can read its file."""
        path = self.folder / "superuser.password"
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text()

    def url(self, database: str, role: str = "postgres", password: str | None = None) -> str:
        """Return the connection URL of a database of this cluster."""
        secret = self.password if password is None else password
        return f"postgresql://{role}:{secret}@127.0.0.1:{self.port}/{database}"

    def start(self, extra: str = "") -> None:
        """Create the cluster if it does not exist, and start it if it is not running.

        `extra` are more lines of postgresql.conf, for a new cluster. Raises Refused
        `postgres_failed` with the last lines of its log.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initialize(extra)
        if self.is_running():
            return
        argv = ["-w", "-t", f"{START_SECONDS:.0f}", "-l", str(self.log), "-o", self._options]
        self._run_tool("pg_ctl", self.data, self.user, *argv, "start")
        self._require_listening()

    def _require_listening(self) -> None:
        """Stop the server again if it has only one of the loopbacks: our connections use IPv4.

        PostgreSQL starts on what it can bind, and the port may be one of a connection that another
        program made. Raises Refused `postgres_failed`.
        """
        uid = self.user.uid if self.user else os.geteuid()
        found = {(str(one.address), one.uid) for one in socket_owner.list_listeners(self.port)}
        if (loopback.IPV4, uid) in found:
            return
        self.stop()
        where = f"{loopback.IPV4}:{self.port}"
        detail = f"PostgreSQL cannot listen on {where}, which is in use: start again"
        raise Refused("postgres_failed", f"{detail}, or set OROBOROS_PORT_OFFSET.")

    @property
    def _options(self) -> str:
        # Clusters of earlier versions listen on 127.0.0.1 only, by their postgresql.conf.
        return f"-p {self.port} -c listen_addresses={','.join(loopback.list_loopbacks())}"

    def stop(self) -> None:
        """Stop the cluster and end its sessions; do nothing if it does not run."""
        if self.is_running():
            self._run_tool("pg_ctl", self.data, self.user, "-w", "-m", "fast", "stop")

    def is_running(self) -> bool:
        """Return whether the process that the cluster's pid file names runs (`pg_ctl status`)."""
        argv = [str(self.programs.tool("pg_ctl")), "-D", str(self.data), "status"]
        return runner.capture(argv, timeout=STATUS_SECONDS, user=self.user).exit_code == 0

    def execute(
        self, statements: Iterable[sql.Composed | LiteralString], database: str = "postgres"
    ) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def ensure_role(self, name: str, password: str, *options: str) -> None:
        """Create the login role, or set its password and options."""
        with self._connect() as execute:
            roles_and_databases.ensure_role(execute, name, password, *options)

    def ensure_database(self, name: str, owner: str) -> None:
        """Create the database unless it exists; only its owner may connect to it."""
        with self._connect() as execute:
            roles_and_databases.ensure_database(execute, name, owner)

    def close_to_public(self, databases: Mapping[str, Iterable[str]]) -> None:
        """Let only the owner and the named roles connect to each database. May be repeated."""
        with self._connect() as execute:
            roles_and_databases.close_to_public(execute, databases)

    @contextmanager
    def _connect(self) -> Iterator[Execute]:
        """Connect as the superuser; yields what runs a statement and returns its first value."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:

            def execute(statement: str) -> str:
                cursor = connection.execute(statement.encode())
                row = cursor.fetchone() if cursor.description else None
                return "" if row is None else str(row[0])

            yield execute

    def _initialize(self, extra: str) -> None:
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="initdb-", dir=self.folder) as scratch:
            # initdb refuses a uid without a name, and `user` is only a number: `nobody` runs it,
            # and the files are given to `user` afterwards.
            creator = None if self.user is None else find_nobody()
            data, password = Path(scratch) / "data", Path(scratch) / "password"
            password.touch(mode=0o600)
            password.write_text(self.password)
            if creator is not None:
                for path in (Path(scratch), password):
                    os.chown(path, creator.uid, creator.gid)
            self._run_tool(
                "initdb", data, creator, "-U", "postgres", "-A", "scram-sha-256",
                "--pwfile", str(password), "-E", "UTF8", "--locale", "C.UTF-8",
                "--no-sync", "--no-instructions",
            )  # fmt: skip
            with (data / "postgresql.conf").open("a") as file:
                file.write(SETTINGS + extra)
            self.log.touch(mode=0o600)
            if self.user is not None:
                for path in (self.log, data, *data.rglob("*")):
                    os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)
            # Last: a folder with this name is a complete cluster.
            data.rename(self.data)

    def _run_tool(self, name: str, data: Path, user: User | None, *arguments: str) -> None:
        argv = [str(self.programs.tool(name)), "-D", str(data), *arguments]
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        # pg_ctl gives up by itself after START_SECONDS, and says why.
        result = runner.capture(argv, timeout=START_SECONDS + 10, user=user, env=env)
        if result.exit_code != 0:
            log = self.log.read_text(errors="replace") if self.log.exists() else ""
            error = result.stderr.decode(errors="replace").strip()
            detail = f"{name} failed: {error}\n{log[-LOG_CHARACTERS:]}"
            raise Refused("postgres_failed", detail.strip())
