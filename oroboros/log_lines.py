"""The lines of the control plane's own logs: what comes from outside forges no line in them."""

import logging
import sys

from core import outages
from host.config import Config
from host.masking.known_secrets import read_masks
from host.visible_text import make_line_visible, make_visible
from oroboros import journal

SERVER_ERROR, UNAVAILABLE = 500, 503


class ExpectedRefusals(logging.Filter):
    """Makes one INFO line of what clients do wrong: a foreign Host, a page that does not exist.

    Django logs these as warnings or errors, some with a traceback: anyone could fill the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        status = getattr(record, "status_code", None)
        is_refusal = record.name.startswith("django.security.") or (
            record.name == "django.request" and status is not None and status < SERVER_ERROR
        )
        if is_refusal:
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
            record.exc_info = record.exc_text = None
        return True


class DatabaseOutages(logging.Filter):
    """Leaves out what follows from an outage of the database, which `core.outages` announces.

    These are errors of lost connections, and the requests that are answered with 503 meanwhile.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and outages.absorb(record.exc_info[1]):
            return False
        is_unavailable = getattr(record, "status_code", None) == UNAVAILABLE
        return not (is_unavailable and record.name == "django.request")


class LineFormatter(logging.Formatter):
    """One line for each message, without secrets; tracebacks follow on lines of their own."""

    def __init__(
        self, config: Config, form: str = "{asctime} {levelname} {name}: {message}"
    ) -> None:
        super().__init__(form, style="{")
        self._config = config

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — logging's name
        return make_line_visible(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return read_masks(self._config).mask(make_visible(super().format(record)))


class LogHandler(logging.StreamHandler):
    """Writes to stderr; where that is systemd's journal, sends the record with its fields instead.

    Events of the timeline go to the journal only, also from a process with a log of its own.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(config))
        self._entries = LineFormatter(config, "{name}: {message}")
        self._is_service = config.is_systemd

    def emit(self, record: logging.LogRecord) -> None:
        is_event = hasattr(record, "event")
        # What the queue's processes announce of an outage belongs in the journal too.
        wants_journal = self._is_service and (is_event or record.name == outages.__name__)
        is_journal = journal.is_stream(sys.stderr)
        has_sent = (wants_journal or is_journal) and journal.send(
            self._entries.format(record), record
        )
        if not is_event and not (is_journal and has_sent):
            super().emit(record)
