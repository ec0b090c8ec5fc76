"""Give an API token a new secret."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.management.token_options import add_lifetime_options, read_lifetime_options
from accounts.models import ApiToken
from accounts.tokens import GRACE_HOURS, MAX_GRACE_HOURS, rotate_token
from core.audit_trail import Entry, append_entry
from host.errors import Refused


class Command(BaseCommand):
    help = (
        "Give an API token a new secret and print it; it is not stored. The present secret goes on "
        "for a grace time. May run again: the secret before the present one then ends at once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the token's name")
        parser.add_argument(
            "--grace-hours",
            type=int,
            choices=range(MAX_GRACE_HOURS + 1),
            default=GRACE_HOURS,
            metavar="HOURS",
            help="for how long the present secret goes on; 0 ends it now (default: %(default)s)",
        )
        add_lifetime_options(parser)

    def handle(self, *, name: str, grace_hours: int, **options: Any) -> None:
        token = ApiToken.objects.filter(name=name).first()
        if token is None:
            raise CommandError(f"There is no token named {name}.")
        lifetime, grace = read_lifetime_options(options), timedelta(hours=grace_hours)
        try:
            secret = rotate_token(token, lifetime=lifetime, grace=grace)
        except Refused as refused:
            raise CommandError(refused.detail) from refused
        append_entry(Entry("token_rotated", "shell", target=name))
        self.stdout.write(secret)
