"""The SQL that creates roles and databases and that closes databases to the public.

It is plain text, so that every connection can run it: psycopg for the embedded server and for the
previews' administrator, psql for the distribution's server. The installation runs psql before any
package is installed, so this module uses the standard library only.
"""

from collections.abc import Callable, Iterable, Mapping

# Runs one statement; returns the first value of its first row, "" if it returns no row.
Execute = Callable[[str], str]


def quote_identifier(name: str) -> str:
    """Return a name of a role or database as SQL has it. Raises ValueError for a NUL."""
    if "\0" in name:
        raise ValueError("a name in PostgreSQL has no NUL")
    return '"' + name.replace('"', '""') + '"'


def quote_literal(value: str) -> str:
    """Return text as an SQL literal. Raises ValueError for a NUL."""
    if "\0" in value:
        raise ValueError("text in PostgreSQL has no NUL")
    quoted = "'" + value.replace("'", "''") + "'"
    # E'' reads backslashes alike whatever standard_conforming_strings says (as PQescapeLiteral).
    return " E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


def role_exists(name: str) -> str:
    """Return the query for whether the role exists: one row if it does."""
    return f"SELECT 1 FROM pg_roles WHERE rolname = {quote_literal(name)}"  # noqa: S608 — quoted


def database_exists(name: str) -> str:
    """Return the query for whether the database exists: one row if it does."""
    return f"SELECT 1 FROM pg_database WHERE datname = {quote_literal(name)}"  # noqa: S608 — quoted


def write_role(name: str, *, exists: bool, options: str, password: str) -> str:
    """Return the statement that creates a login role, or sets its options and its password.

    `password` may be the password itself or a SCRAM verifier of it.
    """
    keyword = "ALTER" if exists else "CREATE"
    secret = quote_literal(password)
    return f"{keyword} ROLE {quote_identifier(name)} LOGIN {options} PASSWORD {secret}"


def create_database(name: str, owner: str) -> str:
    """Return the statement that creates an empty database."""
    return f"CREATE DATABASE {quote_identifier(name)} OWNER {quote_identifier(owner)}"


def close_database(name: str) -> str:
    """Return the statement after which only the owner and named roles may connect.

    PostgreSQL lets every role connect to every database otherwise, `postgres` and `template1` too.
    """
    return f"REVOKE ALL ON DATABASE {quote_identifier(name)} FROM PUBLIC"


def grant_connect(name: str, role: str) -> str:
    """Return the statement that lets the role connect to the database."""
    return f"GRANT CONNECT ON DATABASE {quote_identifier(name)} TO {quote_identifier(role)}"


def ensure_role(execute: Execute, name: str, password: str, *options: str) -> None:
    """Create the login role, or set its password and its options."""
    exists = bool(execute(role_exists(name)))
    execute(write_role(name, exists=exists, options=" ".join(options), password=password))


def ensure_database(execute: Execute, name: str, owner: str) -> None:
    """Create the database unless it exists; only its owner may connect to it."""
    if not execute(database_exists(name)):
        execute(create_database(name, owner))
    execute(close_database(name))


def close_to_public(execute: Execute, databases: Mapping[str, Iterable[str]]) -> None:
    """Let only the owner and the named roles connect to each database. May be repeated."""
    for name, roles in databases.items():
        execute(close_database(name))
        for role in roles:
            execute(grant_connect(name, role))
