"""What people do to targets: the admin and the API call these."""

import uuid
from collections.abc import Sequence

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from core.clock import get_database_time
from host.config import Config
from host.errors import Refused
from host.masking.known_secrets import remember_target
from notifications.channels.webhook import make_secret, read_key
from notifications.collecting import lock_cursor, store_test
from notifications.models import Notification, Target
from notifications.rules import TargetKind, check_address, list_secrets

SECRET_DETAIL = "A secret is whsec_ and 24 to 64 bytes in Base64, or empty: then one is made."  # noqa: S105


@transaction.atomic
def add_target(
    name: str,
    kind: str,
    address: str,
    *,
    actor: str,
    events: Sequence[str],
    branches: Sequence[str] = (),
    secret: str = "",
    owner: User | None = None,
) -> Target:
    """Add a target. A webhook without a secret gets a new one.

    Raises Refused `name_taken`, `address_invalid`, `secret_invalid`.
    """
    check_address(kind, address)
    if Target.objects.filter(name=name).exists():
        raise Refused("name_taken", f"There is a target with the name {name}.")
    if kind == TargetKind.WEBHOOK:
        secret = _check_secret(secret)
    lock_cursor()
    target = Target.objects.create(
        name=name,
        kind=kind,
        address=address,
        secret=secret,
        events=list(events),
        branches=list(branches),
        owner=owner,
        created_by=actor,
        created_at=get_database_time(),
    )
    remember_secrets(settings.OROBOROS, target)
    return target


def remember_secrets(config: Config, target: Target) -> None:
    """Have its address and its secret masked, in all that this host stores or shows."""
    remember_target(config, target.pk, list_secrets(target.kind, target.address, target.secret))


def _check_secret(secret: str) -> str:
    if secret and read_key(secret) is None:
        raise Refused("secret_invalid", SECRET_DETAIL)
    return secret or make_secret()


@transaction.atomic
def change_target(
    target: Target, *, events: Sequence[str], branches: Sequence[str], address: str = ""
) -> None:
    """Change what the target is told of, and its address unless that is empty.

    Raises Refused `address_invalid`.
    """
    if address:
        check_address(target.kind, address)
    row = Target.objects.filter(pk=target.pk)
    row.update(events=list(events), branches=list(branches))
    if address:
        row.update(address=address)
        remember_secrets(settings.OROBOROS, row.get())


@transaction.atomic
def enable_target(target: Target) -> None:
    """Tell the target what happens from now on."""
    lock_cursor()
    at = get_database_time()
    Target.objects.filter(pk=target.pk).update(is_enabled=True, disabled_reason="", created_at=at)


def rotate_secret(target: Target) -> str:
    """Give a webhook a new secret and return it. Raises Refused `not_signed`."""
    if target.kind != TargetKind.WEBHOOK:
        raise Refused("not_signed", "Only webhooks are signed.")
    secret = make_secret()
    Target.objects.filter(pk=target.pk).update(secret=secret)
    remember_secrets(settings.OROBOROS, Target.objects.get(pk=target.pk))
    return secret


def send_test(config: Config, target: Target, *, actor: str) -> Notification:
    """Have the target sent a test. Raises Refused `target_disabled`."""
    if not target.is_enabled:
        raise Refused("target_disabled", f"{target.name} is switched off.")
    return store_test(config, target, actor=actor, number=uuid.uuid4().hex)
