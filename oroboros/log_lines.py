"""The lines of the control plane's own logs: what comes from outside forges no line in them."""

import logging

from host.config import Config
from host.masking.known_secrets import read_masks
from host.visible_text import make_line_visible, make_visible

SERVER_ERROR = 500


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


class LineFormatter(logging.Formatter):
    """One line for each message, without secrets; tracebacks follow on lines of their own."""

    def __init__(self, config: Config) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")
        self._config = config

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — logging's name
        return make_line_visible(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return read_masks(self._config).mask(make_visible(super().format(record)))
