"""Permissions: the four abilities, the groups that have them, and the check of a request.

Abilities, each on its own:
  view     read slots, runs, releases, logs
  hold     request runs and slots: create, cancel, retry, keep; acquire, heartbeat, release
  approve  approve or reject a commit
  operate  whatever affects others: force a release, reap, drain, freeze, roll back
The groups viewer, approver and operator have more of them each (`GROUPS`); a token names its own.
A view says per method what it needs, `abilities = {"GET": "view", "POST": "hold"}`; a method that
it does not name needs `view` to read and `operate` to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, User
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:  # DRF's views import their settings, and those import this module
    from rest_framework.views import APIView

ABILITIES = ("view", "hold", "approve", "operate")
VIEW, HOLD, APPROVE, OPERATE = ABILITIES
GROUPS: dict[str, frozenset[str]] = {
    "viewer": frozenset({VIEW}),
    "approver": frozenset({VIEW, HOLD, APPROVE}),
    "operator": frozenset(ABILITIES),
}


@dataclass(frozen=True)
class Principal:
    """Somebody who is no row of Django's user table: the host's shell, or a token."""

    name: str
    abilities: frozenset[str]

    is_authenticated = True
    is_anonymous = False
    is_active = True
    is_staff = False
    is_superuser = False
    pk = None

    def __str__(self) -> str:
        return self.name

    def get_username(self) -> str:
        return self.name


def abilities_of(user: Any) -> frozenset[str]:
    """Return what `user` may do; a user of the browser may what the groups say."""
    if isinstance(user, Principal):
        return user.abilities
    if not isinstance(user, AbstractBaseUser) or not user.is_active:
        return frozenset()
    if isinstance(user, User) and user.is_superuser:
        return frozenset(ABILITIES)
    return _of_groups(user)


def _of_groups(user: Any) -> frozenset[str]:
    if not hasattr(user, "_oroboros_abilities"):  # asked many times a page, looked up once
        names = user.groups.values_list("name", flat=True)
        user._oroboros_abilities = frozenset().union(*(GROUPS.get(name, ()) for name in names))
    return user._oroboros_abilities


def actor(request: HttpRequest | Request) -> str:
    """Return the name that the audit trail keeps for who asks."""
    return request.user.get_username()


class HasAbility(BasePermission):
    """The caller has the ability that the view names for this method."""

    message = "You may not do this: it takes another group, or a token with the ability."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        return needed(request.method or "", getattr(view, "abilities", {})) in abilities_of(
            request.user
        )


def needed(method: str, abilities: Mapping[str, str]) -> str:
    """Return the ability that `method` needs where a view names `abilities`."""
    if method == "HEAD":
        method = "GET"
    return abilities.get(method) or (VIEW if method in SAFE_METHODS else OPERATE)


def may(request: HttpRequest, ability: str) -> bool:
    """Return whether who asks has the ability."""
    return ability in abilities_of(request.user)
