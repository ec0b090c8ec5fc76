"""The hand-written SQL of leasing agrees with the schema and with the enums."""

import pytest
from django.db import connection
from django.utils import timezone

from runs.leasing import sql
from slots.rules import LeaseState
from tests.factories import LeaseFactory
from tests.runs.sql_checks import (
    explain,
    find_untyped_parameters,
    find_written_states,
    list_statements,
)

STATEMENTS = list_statements(sql)


def test_every_statement_is_checked():
    assert sorted(STATEMENTS) == [
        "GRANT_SLOTS",
        "READ_POSITION",
        "READ_POSITIONS",
        "READ_RESERVATION",
        "RELEASE_RESERVATION",
        "REQUEST_SLOT",
        "SEND_HEARTBEAT",
        "TAKE_GRANT_LOCK",
    ]


@pytest.mark.parametrize("name", STATEMENTS)
def test_statement_fits_the_schema(db, name):
    assert explain(STATEMENTS[name])


@pytest.mark.parametrize("name", STATEMENTS)
def test_each_parameter_of_a_statement_has_a_type(name):
    assert find_untyped_parameters(STATEMENTS[name]) == []


def test_no_state_is_written_out():
    assert find_written_states(sql) == set()


def test_a_column_that_does_not_exist_is_found(db):
    with pytest.raises(Exception, match="requested_on"):
        explain(sql.GRANT_SLOTS.replace("requested_at", "requested_on"))


def test_the_queue_is_read_through_its_partial_index_beside_many_ended_leases(db):
    LeaseFactory.create_batch(200, state=LeaseState.ENDED, ended_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE slots_lease")
    plan = "\n".join(line for (line,) in explain(sql.GRANT_SLOTS))
    assert "slots_waiting_queue" in plan
