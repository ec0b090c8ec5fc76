"""The set-up's exit code decides the error; its output has the first admin's password."""

import sys

import pytest

from host import config as configuration
from host.errors import Refused
from ops import setup_command


@pytest.fixture
def config(tmp_path):
    return configuration.load({"OROBOROS_VAR": str(tmp_path / "var")}, home=tmp_path)


def write_manage(config, script):
    (config.home / "manage.py").write_text(f"import sys\n{script}\n")


def test_the_lines_with_a_password_are_returned(config):
    write_manage(config, "print('Migrated.'); print('user admin, password x')")
    assert setup_command.run_setup(config, sys.executable) == ["user admin, password x"]


def test_an_old_schema_is_refused_with_its_own_code(config):
    exit_code = setup_command.SCHEMA_TOO_OLD_EXIT
    write_manage(config, f"print('schema_too_old: …', file=sys.stderr); sys.exit({exit_code})")
    with pytest.raises(Refused, match="schema_too_old: …") as refused:
        setup_command.run_setup(config, sys.executable)
    assert refused.value.code == "schema_too_old"


def test_any_other_failure_is_refused_with_the_end_of_stderr(config):
    write_manage(config, "sys.exit('no database')")
    with pytest.raises(Refused, match="no database") as refused:
        setup_command.run_setup(config, sys.executable)
    assert refused.value.code == "setup_failed"
