"""Create an API token."""

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import ApiToken
from accounts.tokens import MAX_LIFETIME_DAYS, create_token
from web.permissions import ABILITIES


class Command(BaseCommand):
    help = (
        "Create an API token with the given abilities and print its secret, which is not stored. "
        "Cannot run twice with the same name."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the token's name in the audit trail")
        parser.add_argument("abilities", nargs="+", choices=ABILITIES)

        parser.add_argument(
            "--days",
            type=int,
            choices=range(1, MAX_LIFETIME_DAYS + 1),
            metavar="DAYS",
            help=f"days until it expires, at most {MAX_LIFETIME_DAYS}; without it, never",
        )

    @transaction.atomic
    def handle(self, *, name: str, abilities: list[str], days: int | None, **options: Any) -> None:
        # `create` runs no validators: PostgreSQL would raise a DataError.
        if len(name) > 100:
            raise CommandError("A token's name has 1 to 100 characters.")
        if ApiToken.objects.filter(name=name).exists():
            raise CommandError(f"A token named {name} already exists. Choose another name.")
        try:
            secret = create_token(
                name,
                sorted(set(abilities)),
                created_by="shell",
                lifetime=timedelta(days=days) if days else None,
            )
        except ValidationError as error:
            raise CommandError(error.message) from error
        self.stdout.write(secret)
