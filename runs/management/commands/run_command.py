"""Run a command in a preview or in production, on this terminal."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from host.errors import Refused
from releases.shell import get_shell_actor
from runs.lifecycle import one_off_commands

# As env(1) and docker: the command was not started.
NOT_STARTED = 125
# As a shell says that a signal ended a command.
SIGNAL_BASE = 128


class Command(BaseCommand):
    help = (
        "Run a command as a preview's backend or as production: as its user, with its environment "
        "and in its folder. It is recorded. It gets a terminal if you have one, and ends with the "
        "preview's lease. The exit code is the command's, or 125 if it was not started."
    )
    # The checks import the URLs of all apps, which takes longer than the start of a command.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--slot", metavar="preview-N", help="run it in this slot's preview")
        where.add_argument("--production", action="store_true", help="run it as production")
        parser.add_argument("--reason", default="", help="why; required with --production")
        parser.add_argument("argv", nargs="+", metavar="-- command", help="the command's words")

    def handle(
        self, *, slot: str | None, production: bool, reason: str, argv: list[str], **options: Any
    ) -> None:
        config = settings.OROBOROS
        try:
            if production and not reason.strip():
                raise Refused("reason_required", "A command in production needs --reason '...'.")
            if slot is not None:
                target = one_off_commands.find_slot_target(config, config.slot(slot))
            else:
                target = one_off_commands.find_production_target(config)
            actor, reason = get_shell_actor(), reason.strip()
            with _catch_signals() as is_interrupted:
                outcome, how = one_off_commands.run_one_off(
                    target, argv, actor=actor, reason=reason, is_interrupted=is_interrupted
                )
        except Refused as refused:
            self.stderr.write(refused.detail, style_func=str)
            sys.exit(NOT_STARTED)
        if not how.startswith("ended"):
            self.stderr.write(f"The command {how}.", style_func=str)
        code = -signal.SIGKILL if outcome.exit_code is None else outcome.exit_code
        sys.exit(code if code >= 0 else SIGNAL_BASE - code)


@contextmanager
def _catch_signals() -> Iterator[Callable[[], bool]]:
    """Yield whether a signal asks us to end the command, which is then killed and recorded."""
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    earlier = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in numbers
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
