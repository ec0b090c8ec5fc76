"""The SQL of roles and databases, run by psycopg and by psql alike."""

import psycopg
import pytest

from host.errors import Refused
from host.postgres import roles_and_databases
from ops.postgres import system_server
from tests.environment import CLUSTER

HOSTILE = 'o\'ne "two" \\three :four'


# psql runs as another user, which only root can switch to.
@pytest.fixture(params=["psycopg", pytest.param("psql", marks=pytest.mark.root)])
def server(request, monkeypatch):
    """Return what runs a statement on the tests' server: psycopg, and psql as the set-up has it."""
    if request.param == "psycopg":
        with CLUSTER._connect() as execute:
            yield execute
        return
    argv = [
        str(CLUSTER.programs.tool("psql")),
        *system_server.PSQL[1:],
        CLUSTER.url("postgres"),
    ]
    argv = [word for word in argv if word not in ("-d", "postgres")]
    monkeypatch.setattr(system_server, "PSQL", tuple(argv))
    monkeypatch.setattr(system_server, "SUPERUSER", "root")
    yield system_server.execute


@pytest.fixture
def names():
    """Return names that need quoting, of which nothing is left."""
    yield f"{HOSTILE} role", f"{HOSTILE} database"
    with CLUSTER._connect() as execute:
        database = roles_and_databases.quote_identifier(f"{HOSTILE} database")
        role = roles_and_databases.quote_identifier(f"{HOSTILE} role")
        execute(f"DROP DATABASE IF EXISTS {database}")
        execute(f"DROP ROLE IF EXISTS {role}")


@pytest.mark.parametrize("value", ["", "x", "o'neil", 'a"b', "back\\slash", "\\'; --", ":name"])
def test_a_literal_is_read_back_as_it_was(server, value):
    assert server(f"SELECT {roles_and_databases.quote_literal(value)}") == value


def test_a_nul_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        roles_and_databases.quote_literal("a\0b")
    with pytest.raises(ValueError, match="NUL"):
        roles_and_databases.quote_identifier("a\0b")


def test_roles_and_databases_are_created_once_and_closed(server, names):
    role, database = names
    for _ in range(2):
        roles_and_databases.ensure_role(server, role, "first \\ 'secret'", "CREATEDB")
        roles_and_databases.ensure_database(server, database, role)
    query = "SELECT rolcanlogin AND rolcreatedb AND NOT rolsuper FROM pg_roles WHERE rolname = "
    assert server(query + roles_and_databases.quote_literal(role)) in ("True", "t")
    query = (
        "SELECT has_database_privilege('public', oid, 'CONNECT'), pg_get_userbyid(datdba)"
        " FROM pg_database WHERE datname = "
    )
    with psycopg.connect(CLUSTER.url("postgres")) as connection:
        row = connection.execute(
            (query + roles_and_databases.quote_literal(database)).encode()
        ).fetchone()
    assert row == (False, role)


def test_a_second_call_gives_the_role_its_new_password(server, names):
    role, database = names
    roles_and_databases.ensure_role(server, role, "old")
    roles_and_databases.ensure_database(server, database, role)
    roles_and_databases.ensure_role(server, role, "new")
    login = {"host": "127.0.0.1", "port": CLUSTER.port, "user": role, "dbname": database}
    psycopg.connect(**login, password="new").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**login, password="old")


def test_only_named_roles_may_connect_to_a_closed_database(server, names):
    role, database = names
    roles_and_databases.ensure_role(server, role, "secret")
    roles_and_databases.ensure_database(server, database, "postgres")
    login = {"host": "127.0.0.1", "port": CLUSTER.port, "user": role, "dbname": database}
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(**login, password="secret")
    roles_and_databases.close_to_public(server, {database: [role]})
    psycopg.connect(**login, password="secret").close()


@pytest.mark.root
def test_a_statement_that_psql_refuses_is_an_error_with_its_words(monkeypatch):
    argv = [str(CLUSTER.programs.tool("psql")), "-X", CLUSTER.url("postgres")]
    monkeypatch.setattr(system_server, "PSQL", (*argv, "-v", "ON_ERROR_STOP=1"))
    monkeypatch.setattr(system_server, "SUPERUSER", "root")
    with pytest.raises(Refused, match="syntax error") as refused:
        system_server.execute("SELEC 1")
    assert refused.value.code == "postgres_unusable"
