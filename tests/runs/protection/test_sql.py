"""The hand-written SQL of the protection agrees with the schema and with the enums."""

import pytest

from runs.protection import sql
from tests.runs.sql_checks import (
    explain,
    find_untyped_parameters,
    find_written_states,
    list_statements,
)

STATEMENTS = list_statements(sql)


def test_every_statement_is_checked():
    assert sorted(STATEMENTS) == ["ADMIT_LINK", "ADMIT_TOKEN", "ADMIT_VISIT", "FIND_RUN"]
    assert find_written_states(sql) == set()


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_fits_the_schema_and_each_parameter_has_a_type(db, name):
    assert explain(STATEMENTS[name])
    assert find_untyped_parameters(STATEMENTS[name]) == []
