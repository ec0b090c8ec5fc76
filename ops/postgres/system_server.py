"""The distribution's PostgreSQL: creates the control plane's roles and databases as `postgres`.

It uses psql, not psycopg: the installation runs this before any package is installed.
"""

import pwd
import secrets

from host.errors import Refused
from host.postgres import roles_and_databases
from host.process import runner
from host.process.users import User

SUPERUSER = "postgres"
# -X: without ~/.psqlrc; -q -A -t: values only, one row a line.
PSQL = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres")
STATEMENT_SECONDS = 30.0
OLDEST_VERSION = 150000  # as server_version_num has it


def find_problems() -> list[str]:
    """Return why the server cannot be used, each with what to do."""
    try:
        pwd.getpwnam(SUPERUSER)
    except KeyError:
        return ["PostgreSQL is not installed: apt-get install postgresql."]
    try:
        version = int(execute("SHOW server_version_num"))
    except Refused as refused:  # installed, but stopped
        return [f"{refused.detail} Start it: systemctl start postgresql."]
    if version < OLDEST_VERSION:
        return [f"PostgreSQL {version // 10000} is too old: 15 or newer is needed."]
    return []


def read_port() -> int:
    """Return the port of the server. Raises Refused `postgres_unusable`."""
    return int(execute("SHOW port"))


def ensure_role(name: str, *options: str) -> str:
    """Create the login role, or give it a new password; returns the password."""
    password = secrets.token_urlsafe(24)
    roles_and_databases.ensure_role(execute, name, password, *options)
    return password


def ensure_database(name: str, owner: str) -> None:
    """Create the database unless it exists; only its owner may connect to it."""
    roles_and_databases.ensure_database(execute, name, owner)


def close_to_public(admin: str) -> None:
    """Close the databases that every server has to all roles; `admin` may connect to `postgres`."""
    roles_and_databases.close_to_public(execute, {"postgres": [admin], "template1": []})


def execute(statement: str) -> str:
    """Run one statement; return the first value of its first row, "" if it returns no row.

    Raises Refused `postgres_unusable` with the words of psql.
    """
    entry = pwd.getpwnam(SUPERUSER)
    # On stdin: other users can read the arguments of a process, and a statement has a password.
    result = runner.capture(
        PSQL,
        timeout=STATEMENT_SECONDS,
        user=User(entry.pw_uid, entry.pw_gid),
        stdin=f"{statement};\n".encode(),
    )
    if result.exit_code != 0:
        error = result.stderr.decode(errors="replace").strip()
        raise Refused("postgres_unusable", f"PostgreSQL refused the statement: {error}")
    return result.stdout.decode().strip().partition("\n")[0]
