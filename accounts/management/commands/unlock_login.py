"""Allow logins again after too many failed ones."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.login_throttle import unlock_login
from core.audit_trail import Entry, append_entry


class Command(BaseCommand):
    help = (
        "Delete the failed logins of an account or an address, so that it can log in again at "
        "once. May run again: it then deletes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name, or the address as in the log")

    def handle(self, *, name: str, **options: Any) -> None:
        count = unlock_login(name)
        append_entry(Entry("command", "shell", target=name, detail="unlock_login"))
        self.stdout.write(f"{count} failed logins of {name} deleted")
