"""What the report says of PostgreSQL's extensions that a tree creates."""

from host import config
from host.app.inspection import report
from host.postgres.programs import available_extensions
from host.postgres.programs.available_extensions import Available


def test_the_report_names_extensions_that_the_server_lacks_with_their_package(
    tmp_path, monkeypatch
):
    known = Available(15, {"citext": True})
    monkeypatch.setattr(available_extensions, "foresee_available", lambda config: known)
    (tmp_path / "Procfile").write_text("web: python server.py\n")
    (tmp_path / "schema.sql").write_text('CREATE EXTENSION "uuid-ossp"; CREATE EXTENSION citext;')
    found = report.inspect_folder(config.load({}), tmp_path)
    assert [(one.name, one.needed_by, one.command) for one in found.missing] == [
        ("PostgreSQL's extension uuid-ossp", "schema.sql", "apt-get install postgresql-15")
    ]
    assert not found.is_complete


def test_of_a_server_that_is_not_started_the_programs_say_what_it_has(tmp_path):
    conf = config.load({"OROBOROS_VAR": str(tmp_path)})
    found = available_extensions.foresee_available(conf)
    assert found.version >= 15
    assert found.extensions["citext"]
    assert not found.extensions["postgres_fdw"]
