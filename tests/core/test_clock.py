"""The database's clock."""

import pytest
from django.db import transaction

from core.clock import ClockTimestamp, get_database_time
from tests.factories import RunFactory


@pytest.mark.django_db
def test_the_time_goes_on_within_a_transaction():
    with transaction.atomic():
        first, second = get_database_time(), get_database_time()
    assert first < second


@pytest.mark.django_db
def test_an_expression_has_the_time_of_its_statement():
    run = RunFactory()
    before = get_database_time()
    type(run).objects.filter(pk=run.pk).update(created_at=ClockTimestamp())
    run.refresh_from_db()
    assert before < run.created_at < get_database_time()
