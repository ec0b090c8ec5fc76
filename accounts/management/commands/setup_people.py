"""The groups, and the first person who may log in."""

import secrets
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.login_throttle import unlock
from web.permissions import GROUPS


class Command(BaseCommand):
    help = (
        "Make the groups viewer, approver and operator, and the admin user with a random password "
        "that is printed once. May run again: then it changes nothing, unless --reset is given."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--admin", default="admin", help="the user's name (default: admin)")
        parser.add_argument("--reset", action="store_true", help="give the user a new password")

    @transaction.atomic
    def handle(self, *, admin: str, reset: bool, **options: Any) -> None:
        try:
            User._meta.get_field("username").clean(admin, None)
        except ValidationError as refused:
            raise CommandError(" ".join(refused.messages)) from refused
        groups = {name: Group.objects.get_or_create(name=name)[0] for name in GROUPS}
        user, made = User.objects.get_or_create(
            username=admin, defaults={"is_staff": True, "is_superuser": True}
        )
        if made:
            user.groups.add(groups["operator"])
        if not made and not reset:
            self.stdout.write(f"user {admin} is there; setup_people --reset gives a new password")
            return
        password = secrets.token_urlsafe(12)
        user.set_password(password)
        user.is_active = True
        user.save()
        unlock(admin)
        self.stdout.write(f"user {admin}, password {password}")
