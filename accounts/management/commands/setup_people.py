"""Create the groups and the first user."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.login_throttle import unlock_login
from core.audit_trail import Entry, append_entry
from core.roles import OPERATOR, ROLES


class Command(BaseCommand):
    help = (
        "Create the groups viewer, approver and operator, and the admin user with a random "
        "password that is printed once. May run again: it then changes nothing, unless --reset is "
        "given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--admin", default="admin", help="the user's name (default: admin)")
        parser.add_argument("--reset", action="store_true", help="set a new password")

    @transaction.atomic
    def handle(self, *, admin: str, reset: bool, **options: Any) -> None:
        try:
            # `get_or_create` runs no validators.
            User._meta.get_field("username").clean(admin, None)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        groups = {name: Group.objects.get_or_create(name=name)[0] for name in ROLES}
        user, is_new = User.objects.get_or_create(
            username=admin, defaults={"is_staff": True, "is_superuser": True}
        )
        if is_new:
            user.groups.add(groups[OPERATOR])
        if not is_new and not reset:
            self.stdout.write(f"user {admin} exists; setup_people --reset sets a new password")
            return
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.is_active = True
        user.save()
        append_entry(Entry("user_edited", "shell", target=admin, detail="setup_people"))
        unlock_login(admin)
        self.stdout.write(f"user {admin}, password {password}")
