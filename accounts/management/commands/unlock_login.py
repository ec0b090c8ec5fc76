"""Allow logins again after too many failed ones."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.login_throttle import unlock_login


class Command(BaseCommand):
    help = (
        "Delete the failed logins of an account or an address, so that it can log in again at "
        "once. May run again: it then deletes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name, or the address as in the log")

    def handle(self, *, name: str, **options: Any) -> None:
        self.stdout.write(f"{unlock_login(name)} failed logins of {name} deleted")
