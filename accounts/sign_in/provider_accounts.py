"""The accounts of people who sign in through the provider: who is admitted, and with which role."""

from collections.abc import Collection
from typing import Any, cast

from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from accounts.audit.recording import record_request
from accounts.sign_in import rules
from accounts.sign_in.sessions import end_sessions, limit_session
from accounts.user_forms import get_role, set_role
from host.errors import Refused

OF_SUPERUSERS = (
    "A superuser's account stays apart from the provider: it is for when that is not there. Log "
    "in to it with its password."
)


def admit_person(request: HttpRequest, sociallogin: SocialLogin) -> None:
    """Check a person whom the provider has confirmed; give a known account its role of today.

    Raises Refused `no_role`, `account_exists`, `name_refused`, `connected_other`, `superuser` or
    `old_sign_in`.
    """
    claims = sociallogin.account.extra_data
    if sociallogin.state.get("process") == AuthProcess.CONNECT:
        _check_connection(request, cast("User", request.user), sociallogin)
    elif sociallogin.is_existing:
        user = cast("User", sociallogin.user)
        if user.is_superuser:  # it may have become one since it was connected
            raise Refused("superuser", OF_SUPERUSERS, status=403)
        if not apply_role(request, user, claims["groups"]):
            raise _refuse_without_role()
        _update_email(user, claims["email"])
    elif not rules.choose_role(claims["groups"], settings.SIGN_IN.get_provider().groups):
        raise _refuse_without_role()
    else:
        _check_new_account(claims["name"], claims["email"])


def is_connected(user: User) -> bool:
    """Return whether the account is one of a person of the provider of the settings."""
    provider = settings.SIGN_IN.provider
    rows = SocialAccount.objects.filter(user=user)
    return provider is not None and rows.filter(provider=provider.key).exists()


def _refuse_without_role() -> Refused:
    name = settings.SIGN_IN.get_provider().name
    detail = f"Your account at {name} is in none of the groups that may log in here."
    return Refused("no_role", detail, status=403)


def _check_new_account(name: str, email: str) -> None:
    """Refuse a person whose account would look like another one, which is never taken over."""
    try:
        User._meta.get_field("username").clean(name, None)
    except ValidationError as error:
        detail = f"The name {name} cannot be used here: {' '.join(error.messages)}"
        raise Refused("name_refused", detail, status=403) from error
    has_name = User.objects.filter(username__iexact=name).exists()
    if has_name or (email and User.objects.filter(email__iexact=email).exists()):
        raise Refused(
            "account_exists",
            f"There is an account with the name {name} or your e-mail address. If it is yours, "
            "log in to it with its password, and connect it on the page Your account. Else have "
            "an administrator rename it.",
            status=403,
        )


def _check_connection(request: HttpRequest, user: User, sociallogin: SocialLogin) -> None:
    """Refuse what may not be connected. Nothing changes before the connection is saved."""
    if user.is_superuser:
        raise Refused("superuser", OF_SUPERUSERS, status=403)
    # allauth would go on with these claims after the confirmation, however late that is.
    adapter = get_account_adapter(request)
    is_old = user.is_anonymous or adapter.is_reauthentication_required(app="allauth.socialaccount")
    if is_old:
        detail = "Connecting needs a log-in of the last five minutes: start it again."
        raise Refused("old_sign_in", detail, status=403)
    has_other = SocialAccount.objects.filter(user=user).exclude(uid=sociallogin.account.uid)
    if (sociallogin.is_existing and sociallogin.user != user) or has_other.exists():
        detail = "One account at the provider is one account here: one of them is connected."
        raise Refused("connected_other", detail, status=403)
    groups = sociallogin.account.extra_data["groups"]
    if not rules.choose_role(groups, settings.SIGN_IN.get_provider().groups):
        raise _refuse_without_role()


def finish_connection(
    sender: Any, request: HttpRequest, sociallogin: SocialLogin, **given: Any
) -> None:
    """Receive allauth's signal: the account was connected, and follows the provider from now on.

    Its other sessions end: they began without the provider, and do not end with a group.
    """
    user = cast("User", sociallogin.user)
    name = user.get_username()
    record_request(request, "user_edited", actor=name, target=name, detail="connected")
    apply_role(request, user, sociallogin.account.extra_data["groups"])
    end_sessions(user, keep=request.session.session_key or "")
    limit_session(request, settings.SIGN_IN.get_provider().session_hours)


@transaction.atomic
def apply_role(request: HttpRequest, user: User, groups: Collection[str]) -> str:
    """Give the account the role of its groups at the provider, and return it; "" for none.

    Without a role all its sessions end. One of two sign-ins at once waits for the other.
    """
    User.objects.select_for_update().get(pk=user.pk)
    user.refresh_from_db()
    role, before = rules.choose_role(groups, settings.SIGN_IN.get_provider().groups), get_role(user)
    is_staff = bool(role) or user.is_superuser
    if (role, is_staff) == (before, user.is_staff):
        return role
    set_role(user, role)
    user.is_staff = is_staff
    user.save(update_fields=["is_staff"])
    if not role and not user.is_superuser:
        end_sessions(user)
    detail = f"role {before or 'none'} -> {role or 'none'}, by the provider's groups"
    name = user.get_username()
    record_request(request, "user_edited", actor=name, target=name, detail=detail)
    return role


def _update_email(user: User, email: str) -> None:
    others = User.objects.exclude(pk=user.pk).filter(email__iexact=email)
    if email and email != user.email and not others.exists():
        user.email = email
        user.save(update_fields=["email"])
