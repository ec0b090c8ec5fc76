"""Let a person in again who has lost a second factor, or an account at the provider."""

from argparse import ArgumentParser
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.login_throttle import unlock_login
from accounts.sign_in.second_factor import reset_factors
from accounts.sign_in.sessions import end_sessions
from core.audit_trail import Entry, append_entry


class Command(BaseCommand):
    help = (
        "Remove all second factors and recovery codes of an account, end its sessions and unlock "
        "its log-in. May run again: it then removes nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="the user name")
        parser.add_argument(
            "--disconnect",
            action="store_true",
            help="also forget its connection with the OpenID Connect provider",
        )

    @transaction.atomic
    def handle(self, *, name: str, disconnect: bool, **options: Any) -> None:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name}. The page Users lists them.")
        factors, sessions = reset_factors(user), end_sessions(user)
        links = SocialAccount.objects.filter(user=user).delete()[0] if disconnect else 0
        unlock_login(name)
        append_entry(Entry("user_edited", "shell", target=name, detail="reset_sign_in"))
        self.stdout.write(
            f"{name}: {factors} second factors, {sessions} sessions, {links} connections removed"
        )
