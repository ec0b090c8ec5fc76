"""A token for a program."""

from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import ApiToken
from accounts.tokens import create_token
from web.permissions import ABILITIES


class Command(BaseCommand):
    help = "Make an API token with the abilities named and print its secret, which is kept nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what the audit trail calls it")
        parser.add_argument("abilities", nargs="+", choices=ABILITIES)

    @transaction.atomic
    def handle(self, *, name: str, abilities: list[str], **options: Any) -> None:
        if len(name) > 100:
            raise CommandError("A token's name has 1 to 100 characters.")
        if ApiToken.objects.filter(name=name).exists():
            raise CommandError(f"There is a token {name} already: choose another name.")
        try:
            secret = create_token(name, sorted(set(abilities)), created_by="shell")
        except ValidationError as refused:
            raise CommandError(refused.message) from refused
        self.stdout.write(secret)
