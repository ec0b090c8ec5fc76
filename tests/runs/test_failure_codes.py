"""The page of failure codes says what the code says."""

from io import StringIO

from django.conf import settings
from django.core.management import call_command


def test_the_page_of_failure_codes_is_the_one_that_the_command_prints():
    printed = StringIO()
    call_command("failure_codes", stdout=printed)
    page = settings.BASE_DIR / "docs" / "reference" / "failure-codes.md"
    assert page.read_text() == printed.getvalue()
