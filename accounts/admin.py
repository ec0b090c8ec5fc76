"""The admin's pages of users and API tokens."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.auth import admin as auth  # importing it registers its models
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm

from accounts.audit.admin import AuditEntryAdmin
from accounts.models import EXPIRY_WARNING, ApiToken
from accounts.sign_in.admin import UserSessionAdmin
from accounts.token_forms import NewTokenForm, RotateTokenForm, read_lifetime, read_limits
from accounts.tokens import create_token, rotate_token
from accounts.user_forms import UserChangeForm, UserCreationForm, get_role, set_role
from core.clock import ClockTimestamp
from host.errors import Refused
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import (
    ALLOWED,
    OPERATE,
    ActionState,
    get_abilities,
    get_actor_name,
    list_token_abilities,
)

# Each state with unfold's name of its colour.
STATE_COLOURS = {
    "valid": "success",
    "expires soon": "warning",
    "expired": "danger",
    "revoked": "danger",
}
OTHERS_TOKEN = "Another account created this token: revoke it, and create one of your own."  # noqa: S105

__all__ = [
    "ApiTokenAdmin",
    "AuditEntryAdmin",
    "UserAdmin",
    "UserSessionAdmin",
]  # importing them registers them
admin.site.index_title = "Dashboard"
admin.site.empty_value_display = "–"
admin.site.unregister(User)
admin.site.unregister(Group)  # the three groups are fixed in web.permissions
# allauth's pages would change what the sign-in decides by, and show secrets.
for model in (EmailAddress, SocialAccount, SocialApp, SocialToken, Authenticator):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(auth.UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "role", "is_active", "last_login"]
    list_filter = ["is_active", "groups"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "password", "email"]}),
        ("Permissions", {"fields": ["role", "is_active", "is_superuser"]}),
    ]
    add_fieldsets = [
        (
            None,
            {
                "classes": ["wide"],
                "fields": [
                    "username",
                    "email",
                    "role",
                    "usable_password",
                    "password1",
                    "password2",
                ],
            },
        ),
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    def user_change_password(self, request, id, form_url=""):
        user = self.get_object(request, unquote(id))
        if user == request.user:  # that page asks for the old one
            return redirect("admin:password_change")
        if not self.has_change_permission(
            request, user
        ):  # before the person's own password is asked for
            raise PermissionDenied
        raise_if_reauthentication_required(request, app="accounts")
        return super().user_change_password(request, id, form_url)

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        set_role(form.instance, form.cleaned_data["role"])

    @display(description="Role")
    def role(self, user):
        return "superuser" if user.is_superuser else get_role(user) or "–"


def _create(request: HttpRequest, row: None, data: Mapping[str, Any]) -> ActionResult:
    missing = set(data["abilities"]) - list_token_abilities(get_abilities(request.user))
    if missing:
        raise Refused(
            "forbidden", "A token cannot have abilities that you do not have.", status=403
        )
    secret = create_token(
        data["name"],
        data["abilities"],
        created_by=get_actor_name(request),
        owner=cast("User", request.user),  # the admin's pages need a login
        lifetime=read_lifetime(data["days"]),
        limits=read_limits(data),
    )
    return _show_once(secret)


def _show_once(secret: str, note: str = "") -> ActionResult:
    url = reverse("admin:accounts_apitoken_changelist")
    return ActionResult(f"Copy the token now, it is not shown again: {secret}{note}", url)


def _rotate(request: HttpRequest, token: ApiToken, data: Mapping[str, Any]) -> ActionResult:
    if not is_rotated_by(request.user, token):
        raise Refused("forbidden", OTHERS_TOKEN, status=403)
    hours = data["grace_hours"]
    secret = rotate_token(token, lifetime=read_lifetime(data["days"]), grace=timedelta(hours=hours))
    note = f" (the one before goes on for {hours} h at most)" if hours else ""
    return _show_once(secret, note)


def is_rotated_by(user: Any, token: ApiToken) -> bool:
    """Return whether the account may learn a new secret of the token.

    Not that of another account: with it, the one could act as the other.
    """
    return not token.is_owned or token.owner == user


def _decide_rotate(request: HttpRequest, token: ApiToken) -> ActionState:
    if token.revoked_at is not None:
        return ActionState(False, f"{token} is revoked.", is_hidden=True)
    return ALLOWED if is_rotated_by(request.user, token) else ActionState(False, OTHERS_TOKEN)


def describe_state(token: ApiToken, at: datetime) -> str:
    """Return whether the token authenticates at that time, and whether it ends soon."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is None or token.expires_at > at + EXPIRY_WARNING:
        return "valid"
    return "expires soon" if token.expires_at > at else "expired"


def _revoke(request: HttpRequest, token: ApiToken, data: Mapping[str, Any]) -> ActionResult:
    is_new = token.revoke(by=get_actor_name(request))
    return ActionResult(f"You revoked {token}." if is_new else f"{token} was already revoked.")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = [
        "name",
        "state",
        "permissions",
        "limited_to",
        "created_by",
        "expires_at",
        "last_used_at",
        "last_used_address",
    ]
    fields = [
        *list_display,
        "created_at",
        "rotated_at",
        "previous_expires_at",
        "revoked_at",
        "revoked_by",
    ]
    readonly_fields = ["state", "permissions", "limited_to"]
    list_select_related = ["owner"]
    page_actions = (
        AdminAction(
            "new",
            "New token",
            OPERATE,
            "A program authenticates with the token. It is shown once.",
            _create,
            NewTokenForm,
            is_primary=True,
            is_for_row=False,
        ),
        AdminAction(
            "rotate",
            "Rotate",
            OPERATE,
            "The token gets a new secret, which is shown once, and a new end.",
            _rotate,
            RotateTokenForm,
            decide=_decide_rotate,
        ),
        AdminAction(
            "revoke",
            "Revoke",
            OPERATE,
            "Requests with this token are refused from now on.",
            _revoke,
            is_dangerous=True,
            decide=lambda request, token: offer_if(
                token.revoked_at is None, f"{token} is revoked already."
            ),
        ),
    )

    def get_queryset(self, request):
        return super().get_queryset(request).annotate(read_at=ClockTimestamp())

    @display(description="State", label=STATE_COLOURS)
    def state(self, token):
        return describe_state(token, token.read_at)

    @display(description="Limited to")
    def limited_to(self, token):
        return str(token.limits) or "–"

    @display(description="Permissions")
    def permissions(self, token):
        current = token.get_current_abilities()
        lost = [one for one in token.abilities if one not in current]
        note = f" (its owner no longer has: {', '.join(lost)})" if lost else ""
        return ", ".join(one for one in token.abilities if one in current) + note
