"""For somebody who may not log in because too many logins failed."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.login_throttle import unlock


class Command(BaseCommand):
    help = (
        "Let an account, or everybody who comes from an address, try to log in again at once. "
        "May run again: then there is nothing to forget."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user's name, or the address as the log has it")

    def handle(self, *, name: str, **options: Any) -> None:
        self.stdout.write(f"{unlock(name)} failed logins of {name} are forgotten")
