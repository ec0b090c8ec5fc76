"""The operators' page of sessions."""

from collections.abc import Mapping
from typing import Any

from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from accounts.sign_in.second_factor import has_factor, reset_factors
from accounts.sign_in.sessions import end_session, end_sessions, list_sessions
from host.errors import Refused
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import OPERATE, has_ability

LIST = "admin:usersessions_usersession_changelist"
OF_SUPERUSERS = "Only a superuser, or a shell on the host, changes a superuser's sign-in."


def _check_rank(request: HttpRequest, user: User) -> None:
    """Refuse an operator who would weaken the sign-in of an account with more abilities."""
    if user.is_superuser and not getattr(request.user, "is_superuser", False):
        raise Refused("forbidden", OF_SUPERUSERS, status=403)


def _end(request: HttpRequest, row: UserSession, data: Mapping[str, Any]) -> ActionResult:
    end_session(row)
    return ActionResult(f"You ended the session of {row.user} from {row.ip}.", reverse(LIST))


def _reset(request: HttpRequest, row: UserSession, data: Mapping[str, Any]) -> ActionResult:
    _check_rank(request, row.user)
    count = reset_factors(row.user)
    end_sessions(row.user)
    return ActionResult(f"You removed {count} second factors of {row.user}.", reverse(LIST))


admin.site.unregister(UserSession)


@admin.register(UserSession)
class UserSessionAdmin(ReadOnlyAdmin):
    list_display = ["user", "ip", "created_at", "user_agent"]
    fields = [*list_display]
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
            "reset-factors",
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

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_ability(request, OPERATE)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_ability(request, OPERATE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[UserSession]:
        return list_sessions()
