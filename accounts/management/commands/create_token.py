"""Create an API token."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.management.token_options import add_lifetime_options, read_lifetime_options
from accounts.models import ApiToken
from accounts.tokens import create_token
from core.audit_trail import Entry, append_entry
from web.permissions import TOKEN_ABILITIES, RunLimits


class Command(BaseCommand):
    help = (
        "Create an API token with the given abilities and print its secret, which is not stored. "
        "Cannot run twice with the same name."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the token's name in the audit trail")
        parser.add_argument("abilities", nargs="+", choices=TOKEN_ABILITIES)
        parser.add_argument(
            "--branch",
            action="append",
            default=[],
            metavar="PATTERN",
            help="limit it to runs of branches that match, as for git branch --list (repeatable)",
        )
        parser.add_argument(
            "--own-runs", action="store_true", help="limit it to runs that it made itself"
        )
        add_lifetime_options(parser)

    @transaction.atomic
    def handle(self, *, name: str, abilities: list[str], **options: Any) -> None:
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
                lifetime=read_lifetime_options(options),
                limits=RunLimits(tuple(options["branch"]), is_own_only=options["own_runs"]),
            )
        except ValidationError as error:
            raise CommandError(error.message) from error
        append_entry(Entry("token_made", "shell", target=name, detail=" ".join(abilities)))
        self.stdout.write(secret)
