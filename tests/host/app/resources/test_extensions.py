"""Which extensions of PostgreSQL are found in a tree, and what is said of those that lack."""

import pytest

from host import config as configuration
from host.app.resources import extensions
from host.errors import ApplicationRefused
from host.files.source_tree import FILE_BYTES, SourceTree
from host.postgres.programs.available_extensions import Available
from tests.host.app.trees import write_tree


def find(tmp_path, files):
    write_tree(tmp_path, files)
    return extensions.find_wanted(SourceTree(tmp_path))


@pytest.mark.parametrize(
    ("path", "text", "names"),
    [
        ("db/structure.sql", 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA x;', "uuid-ossp"),
        ("schema.sql", "create extension\n  if not exists Citext;", "citext"),
        ("db/migrate/1_x.rb", "    enable_extension 'pgcrypto'\n", "pgcrypto"),
        ("db/schema.rb", '  enable_extension("hstore")', "hstore"),
        ("shop/migrations/0001.py", "operations = [TrigramExtension(), UnaccentExtension()]",
         "pg_trgm unaccent"),
        ("shop/migrations/0002.py", 'CreateExtension(name="postgis")', "postgis"),
        ("alembic/versions/1.py", 'op.execute("CREATE EXTENSION \\"ltree\\"")', "ltree"),
        ("migrations/1.js", "knex.raw('create extension \"uuid-ossp\"')", "uuid-ossp"),
        ("database/migrations/1.php", "DB::statement('CREATE EXTENSION vector');", "vector"),
        ("prisma/schema.prisma", 'extensions = [citext, u(map: "uuid-ossp", schema: "x")]',
         "citext uuid-ossp"),
        # What creates none, or is not the application's.
        ("a.sql", "-- CREATE EXTENSION citext;\nDROP EXTENSION hstore;", ""),
        ("migrations/1.py", 'f"CREATE EXTENSION IF NOT EXISTS {name}"', ""),
        ("node_modules/x/a.sql", "CREATE EXTENSION citext;", ""),
        ("tests/migrations/1.py", "CITextExtension()", ""),
        ("app/views.py", "CREATE EXTENSION citext", ""),
        (".git/a.sql", "CREATE EXTENSION citext;", ""),
    ],
)  # fmt: skip
def test_the_extensions_that_migrations_create_are_found(tmp_path, path, text, names):
    assert find(tmp_path, {path: text}) == dict.fromkeys(names.split(), path)


def test_a_dump_of_any_size_is_searched_as_far_as_it_is_read(tmp_path):
    rows = b"INSERT INTO words VALUES ('caf\xe9');\n" * (FILE_BYTES // 20)
    end = b"CREATE EXTENSION hstore;"
    files = {"data/dump.sql": b"CREATE EXTENSION citext;\n" + rows + end}
    assert find(tmp_path, files) == {"citext": "data/dump.sql"}


def test_a_lacking_extension_is_named_with_its_file_and_what_brings_it():
    wanted = {"citext": "a.sql", "uuid-ossp": "b.sql", "postgis": "c.sql", "file_fdw": "d.sql"}
    lines = extensions.describe_lacking(wanted, {"citext": True, "file_fdw": False}, 15)
    assert lines == [
        "b.sql creates the PostgreSQL extension uuid-ossp, which the applications' server "
        "(PostgreSQL 15) lacks: apt-get install postgresql-15.",
        "c.sql creates the PostgreSQL extension postgis, which the applications' server "
        "(PostgreSQL 15) lacks: apt-get install postgresql-15-postgis-3.",
        "d.sql creates the PostgreSQL extension file_fdw, which the applications' server "
        "(PostgreSQL 15) lets only a superuser create: write trusted = true into "
        "file_fdw.control.",
    ]


def test_nothing_is_said_of_a_server_that_is_not_known():
    assert extensions.describe_lacking({"citext": "a.sql"}, {}, 0) == []


@pytest.mark.parametrize(
    ("setting", "names", "refused"),
    [
        (None, ["citext", "uuid-ossp", "pgcrypto"], ""),
        (None, ["citext", "postgis"], "postgis"),
        ("postgis,citext", ["citext", "postgis"], ""),
        ("postgis", ["citext", "hstore", "postgis"], "citext, hstore"),
        ("postgis", [], ""),
    ],
)
def test_an_extension_that_the_operator_does_not_allow_is_refused_by_name(setting, names, refused):
    given = {} if setting is None else {"PREVIEW_ALLOWED_EXTENSIONS": setting}
    if not refused:
        extensions.require_allowed(configuration.load(given), names)
        return
    with pytest.raises(ApplicationRefused, match="PREVIEW_ALLOWED_EXTENSIONS") as caught:
        extensions.require_allowed(configuration.load(given), names)
    assert f"extensions: {refused} may not be created" in caught.value.detail
    assert caught.value.failure_code == "MANIFEST_INVALID"


def test_a_superuser_as_the_administrator_may_create_all_extensions():
    known = {"citext": True, "file_fdw": False}
    assert Available(15, known).creatable == known
    assert Available(15, known, is_superuser=True).creatable == dict.fromkeys(known, True)
