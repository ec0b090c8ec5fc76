"""Permissions: four abilities, the groups that have them, and the check of a request.

The abilities, none of which includes another:
  view     read slots, runs, releases, logs
  hold     create and retry runs; cancel and keep those of one's own, and acquire, heartbeat and
           release their slots (`get_required_owner`)
  approve  approve or reject a commit
  operate  actions that affect others: force a release, reap, drain, freeze, roll back
Users get the abilities of their groups (`GROUPS`); each token has its own list.
A view declares the ability of each method, `abilities = {"GET": "view", "POST": "hold"}`. Methods
that it does not declare need `view` to read and `operate` to write.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, User
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from host.errors import Refused

if TYPE_CHECKING:  # an import cycle: DRF's views import its settings, which import this module
    from rest_framework.views import APIView

ABILITIES = ("view", "hold", "approve", "operate")
VIEW, HOLD, APPROVE, OPERATE = ABILITIES
GROUPS: dict[str, frozenset[str]] = {
    "viewer": frozenset({VIEW}),
    "approver": frozenset({VIEW, HOLD, APPROVE}),
    "operator": frozenset(ABILITIES),
}


OWNER_REFUSAL = "Another user created this run; an operator may act in their place."


@dataclass(frozen=True)
class ActionState:
    """Whether a person may perform an action now.

    `reason` says why not, as a sentence. A hidden action is not offered: it is another role's, or
    has no meaning in the present state; one that is neither allowed nor hidden is shown disabled.
    """

    allowed: bool
    reason: str = ""
    is_hidden: bool = False


ALLOWED = ActionState(True)


def require_ability(ability: str, abilities: frozenset[str]) -> ActionState | None:
    """Return the hidden state of an action that needs another ability; None with the ability."""
    if ability in abilities:
        return None
    return ActionState(False, f"This needs the ability {ability}.", is_hidden=True)


@dataclass(frozen=True)
class Principal:
    """An identity without a row in Django's user table: the host's shell, or a token."""

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


def get_abilities(user: Any) -> frozenset[str]:
    """Return the abilities of a principal, or of a Django user by its groups."""
    if isinstance(user, Principal):
        return user.abilities
    if not isinstance(user, AbstractBaseUser) or not user.is_active:
        return frozenset()
    if isinstance(user, User) and user.is_superuser:
        return frozenset(ABILITIES)
    return _get_group_abilities(user)


def _get_group_abilities(user: Any) -> frozenset[str]:
    if not hasattr(user, "_oroboros_abilities"):  # one page checks it many times
        names = user.groups.values_list("name", flat=True)
        user._oroboros_abilities = frozenset().union(*(GROUPS.get(name, ()) for name in names))
    return user._oroboros_abilities


def get_required_owner(request: HttpRequest | Request) -> str | None:
    """Return who must have created the run that is changed; None: an operator changes any run.

    The one rule for canceling and keeping a run, and for the slot that it holds.
    """
    return None if OPERATE in get_abilities(request.user) else get_actor_name(request)


def check_owner(created_by: str, owner: str | None, *, code: str) -> None:
    """Raise Refused `code` (403) unless `owner` created the run; None may change any."""
    if owner is not None and created_by != owner:
        raise Refused(code, OWNER_REFUSAL, status=403)


def get_actor_name(request: HttpRequest | Request) -> str:
    """Return the name of the requester, as the audit trail records it."""
    return request.user.get_username()


class HasAbility(BasePermission):
    """DRF's permission: the requester has the ability that the view declares for the method."""

    message = "You do not have permission to do this. Another group or another token may have it."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        declared = getattr(view, "abilities", {})
        required = get_required_ability(request.method or "", declared)
        return required in get_abilities(request.user)


def get_required_ability(method: str, abilities: Mapping[str, str]) -> str:
    """Return the ability that `method` needs in a view that declares `abilities`."""
    if method == "HEAD":
        method = "GET"
    return abilities.get(method) or (VIEW if method in SAFE_METHODS else OPERATE)


def has_ability(request: HttpRequest, ability: str) -> bool:
    """Return whether the requester has the ability."""
    return ability in get_abilities(request.user)
