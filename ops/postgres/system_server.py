"""The distribution's PostgreSQL: the roles and databases of the control plane, made as postgres."""

import pwd
import secrets

from host.errors import Refused
from host.process import runner
from host.process.runner import User

SUPERUSER = "postgres"
ASK_SECONDS = 30.0
OLDEST = 150000
ROLE = """
SELECT format('CREATE ROLE %I', :'name')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \\gexec
"""
DATABASE = """
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'owner')
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec
REVOKE ALL ON DATABASE :name FROM PUBLIC;
"""
CLOSE = """
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO :admin;
"""


def problems() -> list[str]:
    """Return why the server cannot be used, with what to do."""
    try:
        pwd.getpwnam(SUPERUSER)
    except KeyError:
        return ["PostgreSQL is not installed: apt-get install postgresql."]
    try:
        version = int(_ask("SHOW server_version_num"))
    except Refused as refused:
        return [f"{refused.detail} Start it: systemctl start postgresql."]
    if version < OLDEST:
        return [f"PostgreSQL {version // 10000} is too old: 15 or newer is needed."]
    return []


def port() -> int:
    """Return the port of the server. Raises Refused `postgres_unusable`."""
    return int(_ask("SHOW port"))


def make_role(name: str, options: str = "") -> str:
    """Make the login role, or give it a new password, which is returned."""
    password = secrets.token_urlsafe(24)
    _do(
        ROLE + f"ALTER ROLE :name LOGIN {options} PASSWORD :'password';",
        name=name,
        password=password,
    )
    return password


def make_database(name: str, owner: str) -> None:
    """Make the database if it is not there; only its owner may connect to it."""
    _do(DATABASE, name=name, owner=owner)


def close_to_public(admin: str) -> None:
    """Let roles of previews connect to no database that every server has."""
    _do(CLOSE, admin=admin)


def _ask(query: str) -> str:
    return _psql("-c", query).decode().strip()


def _do(statements: str, **values: str) -> None:
    """Run statements with psql's variables; nobody reads them in the table of processes."""
    told = "".join(f"\\set {name} '{value}'\n" for name, value in values.items())
    _psql(stdin=(told + statements).encode())


def _psql(*arguments: str, stdin: bytes | None = None) -> bytes:
    entry = pwd.getpwnam(SUPERUSER)
    done = runner.capture(
        ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres", *arguments],
        timeout=ASK_SECONDS,
        user=User(entry.pw_uid, entry.pw_gid),
        stdin=stdin,
    )
    if done.exit_code != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Refused("postgres_unusable", f"PostgreSQL does not do it: {said}")
    return done.stdout
