"""A database of a version before 0.1 is refused with `schema_too_old` before anything changes."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from ops.setup_command import SCHEMA_TOO_OLD_EXIT
from oroboros import schema_check

pytestmark = pytest.mark.django_db


@pytest.fixture
def old_table():
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {schema_check.OLD_TABLE} (id bigint)")


def test_migrate_and_setup_accept_a_database_of_this_version():
    call_command("migrate", verbosity=0, skip_checks=False)
    assert schema_check.check_schema(databases=["default"]) == []


def test_migrate_refuses_an_old_database_with_the_code(old_table):
    with pytest.raises(CommandError, match=r"\(schema_too_old\).*uninstall"):
        call_command("migrate", verbosity=0, skip_checks=False)


def test_setup_refuses_an_old_database_with_the_code_and_an_exit_code_of_its_own(old_table):
    with pytest.raises(CommandError, match=r"^schema_too_old: .*docs/upgrade\.md") as refused:
        call_command("setup")
    assert refused.value.returncode == SCHEMA_TOO_OLD_EXIT


def test_checks_without_a_database_do_not_connect(old_table):
    assert schema_check.check_schema(databases=None) == []
