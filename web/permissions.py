"""Permissions: four abilities, the groups that have them, and the check of a request.

The abilities, none of which includes another:
  view     read slots, runs, releases, logs
  hold     create and retry runs; cancel and keep those of one's own, and acquire, heartbeat and
           release their slots (`get_required_owner`)
  approve  approve or reject a commit
  operate  actions that affect others: force a release, reap, drain, freeze, roll back
Users get the abilities of their groups (`GROUPS`); each token has its own list. A token may have a
fifth one, `preview`: it sees previews and reads nothing else, for automated tests.
A view declares the ability of each method, `abilities = {"GET": "view", "POST": "hold"}`. Methods
that it does not declare need `view` to read and `operate` to write.

A token may also be limited to some runs (`RunLimits`). It then writes only through the views that
declare `checks_limits = True`, which ask `check_limits` of each run; every other write is refused.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, User
from django.http import HttpRequest
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from core import roles
from host.errors import Refused

if TYPE_CHECKING:  # an import cycle: DRF's views import its settings, which import this module
    from rest_framework.views import APIView

ABILITIES = ("view", "hold", "approve", "operate")
VIEW, HOLD, APPROVE, OPERATE = ABILITIES
PREVIEW = "preview"  # of tokens; who has `view` may look at previews too
TOKEN_ABILITIES = (*ABILITIES, PREVIEW)
GROUPS: dict[str, frozenset[str]] = {
    roles.VIEWER: frozenset({VIEW}),
    roles.APPROVER: frozenset({VIEW, HOLD, APPROVE}),
    roles.OPERATOR: frozenset(ABILITIES),
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


PATTERN_PARTS = re.compile(r"\*+|\?|\[!?[A-Za-z0-9_./-]+\]|[^*?\[\]\\^~:\s]")
LONGEST_PATTERN = 200


def is_branch_pattern(pattern: str) -> bool:
    """Return whether `build_branch_regex` can read the pattern."""
    return 0 < len(pattern) <= LONGEST_PATTERN and not PATTERN_PARTS.sub("", pattern)


def build_branch_regex(pattern: str) -> str:
    """Return the pattern of branches as a regular expression for PostgreSQL.

    As in `git branch --list`: `*` is any text, also with slashes, `?` one character, `[a-z]` one of
    these and `[!a-z]` one of the others.
    """
    return "^" + "".join(map(_translate, PATTERN_PARTS.findall(pattern))) + "$"


def _translate(part: str) -> str:
    if part.startswith("*"):
        return ".*"
    if part.startswith("["):
        return part.replace("[!", "[^", 1)
    return "." if part == "?" else re.escape(part)


@dataclass(frozen=True)
class RunLimits:
    """The runs that a token is limited to; without limits all of them.

    `branches`: patterns, one of which the run's branch must match. `is_own_only`: the token made
    the run.
    """

    branches: tuple[str, ...] = ()
    is_own_only: bool = False

    def __bool__(self) -> bool:
        return bool(self.branches) or self.is_own_only

    def __str__(self) -> str:
        parts = []
        if self.branches:
            parts.append(f"branches {', '.join(self.branches)}")
        if self.is_own_only:
            parts.append("runs that it made")
        return " and ".join(parts)

    def includes(self, name: str, *, branch: str, created_by: str) -> bool:
        """Return whether the token of that name may read and change the run."""
        # Not by the regular expression, which takes Python very long if it has many stars.
        matches = any(fnmatch.fnmatchcase(branch, one) for one in self.branches)
        is_own = created_by == name
        return (matches or not self.branches) and (is_own or not self.is_own_only)

    def build_refusal(self, reason: str) -> Refused:
        """Return the refusal of a request beyond the limits."""
        return Refused("token_limited", f"The token is limited to {self}: {reason}", status=403)


@dataclass(frozen=True)
class Principal:
    """An identity without a row in Django's user table: the host's shell, or a token."""

    name: str
    abilities: frozenset[str]
    limits: RunLimits = RunLimits()

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


def list_token_abilities(abilities: frozenset[str]) -> frozenset[str]:
    """Return the abilities that a token of an account with these may have."""
    return abilities | {PREVIEW} if VIEW in abilities else abilities


def _get_group_abilities(user: Any) -> frozenset[str]:
    if not hasattr(user, "_oroboros_abilities"):  # one page checks it many times
        names = user.groups.values_list("name", flat=True)
        user._oroboros_abilities = list_group_abilities(names)
    return user._oroboros_abilities


def list_group_abilities(names: Iterable[str]) -> frozenset[str]:
    """Return the abilities of an account in the groups of these names."""
    return frozenset().union(*(GROUPS.get(name, ()) for name in names))


def get_limits(user: Any) -> RunLimits:
    """Return the limits of the requester: people and the host's shell have none."""
    return user.limits if isinstance(user, Principal) else RunLimits()


def check_limits(request: HttpRequest | Request, *, branch: str, created_by: str) -> None:
    """Raise Refused `token_limited` (403) unless the requester's limits include the run."""
    limits = get_limits(request.user)
    if not limits.includes(get_actor_name(request), branch=branch, created_by=created_by):
        what = f"branch {branch}" if branch else "no branch"
        raise limits.build_refusal(f"the run has {what} and was made by {created_by}.")


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
    """DRF's permission: the requester has the ability that the view declares for the method.

    Raises Refused `token_limited` (403) for a limited token, unless the view checks the limits.
    """

    message = "You do not have permission to do this. Another group or another token may have it."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        declared, method = getattr(view, "abilities", {}), request.method or ""
        if get_required_ability(method, declared) not in get_abilities(request.user):
            return False
        limits = get_limits(request.user)
        if limits and method not in SAFE_METHODS and not getattr(view, "checks_limits", False):
            raise limits.build_refusal("this changes more than these.")
        return True


def get_required_ability(method: str, abilities: Mapping[str, str]) -> str:
    """Return the ability that `method` needs in a view that declares `abilities`."""
    if method == "HEAD":
        method = "GET"
    return abilities.get(method) or (VIEW if method in SAFE_METHODS else OPERATE)


def has_ability(request: HttpRequest, ability: str) -> bool:
    """Return whether the requester has the ability."""
    return ability in get_abilities(request.user)
