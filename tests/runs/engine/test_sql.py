"""The hand-written SQL of the journal agrees with the schema and with the enums."""

import pytest

from runs.engine import sql
from tests.runs.sql_checks import (
    explain,
    find_untyped_parameters,
    find_written_states,
    list_statements,
)

STATEMENTS = list_statements(sql)


def test_every_statement_is_checked():
    assert sorted(STATEMENTS) == ["BEGIN_STEP", "END_STEP", "LIST_KINDS"]


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_fits_the_schema(db, name):
    assert explain(STATEMENTS[name])


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_parameter_of_a_statement_has_a_type(name):
    assert find_untyped_parameters(STATEMENTS[name]) == []


def test_no_state_is_written_out():
    assert find_written_states(sql) == set()
