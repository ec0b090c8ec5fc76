"""The operators' page of sessions."""

from collections.abc import Mapping
from typing import Any

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from unfold.decorators import display

from accounts.audit.recording import record_request
from accounts.sign_in.second_factor import has_factor, reset_factors
from accounts.sign_in.sessions import end_session, end_sessions, list_sessions
from host.errors import Refused
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import OPERATE, get_actor_name, has_ability

RESET = "reset-factors"
LIST = "admin:usersessions_usersession_changelist"
OF_ONESELF = "Your own second factors change on the page Your account."
OF_SUPERUSERS = "Only a superuser, or a shell on the host, changes a superuser's log-in."


def _check_rank(request: HttpRequest, user: User) -> None:
    """Refuse an operator who would weaken the own sign-in, or one with more abilities."""
    if user == request.user:
        raise Refused("own_account", OF_ONESELF, status=403)
    if user.is_superuser and not getattr(request.user, "is_superuser", False):
        raise Refused("forbidden", OF_SUPERUSERS, status=403)


def _record(request: HttpRequest, user: User, detail: str) -> None:
    actor = get_actor_name(request)
    record_request(request, "user_edited", actor=actor, target=user.username, detail=detail)


def _end(request: HttpRequest, row: UserSession, data: Mapping[str, Any]) -> ActionResult:
    end_session(row)
    _record(request, row.user, f"session from {row.ip} ended")
    return ActionResult(f"You ended the session of {row.user} from {row.ip}.", reverse(LIST))


def _reset(request: HttpRequest, row: UserSession, data: Mapping[str, Any]) -> ActionResult:
    _check_rank(request, row.user)
    count = reset_factors(row.user)
    end_sessions(row.user)
    _record(request, row.user, f"{count} second factors removed")
    return ActionResult(f"You removed {count} second factors of {row.user}.", reverse(LIST))


admin.site.unregister(UserSession)


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    list_display = ["account", "address", "created_at", "user_agent"]
    fields = [*list_display]
    readonly_fields = ["account", "address"]
    list_filter = ["user"]
    search_fields = ["user__username", "ip"]
    list_select_related = ["user"]
    page_actions = (
        AdminAction(
            "end",
            "End",
            OPERATE,
            "The browser is logged out at its next request.",
            _end,
            is_dangerous=True,
            is_bulk=True,
        ),
        AdminAction(
            RESET,
            "Reset second factors",
            OPERATE,
            "The account's second factors and recovery codes are removed, and all its sessions "
            "end. Make sure that it is the person who asks.",
            _reset,
            is_dangerous=True,
            decide=lambda request, row: offer_if(
                has_factor(row.user), f"{row.user} has no second factor."
            ),
        ),
    )

    @display(description="User", ordering="user__username")
    def account(self, row):
        # As a field of the row it would link to a page that only superusers may open.
        return str(row.user)

    @display(description="Address", ordering="ip")
    def address(self, row):
        return row.ip

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_ability(request, OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_ability(request, OPERATE)

    def action_view(
        self, request: HttpRequest, action: AdminAction, object_id: str
    ) -> HttpResponse:
        # Who may not do it is refused, and not asked to confirm.
        if action.name == RESET and has_ability(request, action.ability):
            raise_if_reauthentication_required(request, app="accounts")
        return super().action_view(request, action, object_id)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UserSession]:
        return list_sessions()
