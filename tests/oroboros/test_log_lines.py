"""What requests leave in the control plane's log."""

import io
import logging

import pytest
from django.conf import settings
from django.test import Client

from oroboros.log_lines import ExpectedRefusals, LineFormatter, LogHandler


@pytest.fixture
def log():
    """Return what the handler of the settings would write to its stream."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ExpectedRefusals())
    handler.setFormatter(LineFormatter(settings.OROBOROS))
    logging.getLogger().addHandler(handler)
    yield stream
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/", "evil.example"),
        ("/api/runs", "evil\x9b.example"),
        ("/no/such/page", "localhost"),
        ("/api/no-such", "localhost"),
    ],
)
def test_an_expected_refusal_is_one_line_of_information(log, db, path, host):
    answer = Client(raise_request_exception=False).get(path, headers={"host": host})
    assert 400 <= answer.status_code < 500
    [line] = log.getvalue().splitlines()
    assert " INFO django." in line
    assert "\x9b" not in line


def test_the_settings_use_the_filter_and_the_formatter():
    handler = settings.LOGGING["handlers"]["console"]
    assert handler["filters"] == ["expected", "outages"]
    assert settings.LOGGING["filters"]["expected"]["()"].endswith("ExpectedRefusals")
    assert settings.LOGGING["filters"]["outages"]["()"].endswith("DatabaseOutages")
    assert isinstance(LogHandler(settings.OROBOROS).formatter, LineFormatter)
