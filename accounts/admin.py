"""The admin's pages of users and API tokens."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth import admin as auth  # importing it registers its models
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm

from accounts.authentication import ABILITIES
from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from accounts.tokens import DEFAULT_LIFETIME_DAYS, MAX_LIFETIME_DAYS, create_token
from accounts.user_forms import UserChangeForm, UserCreationForm, get_role, set_role
from host.errors import Refused
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import OPERATE, get_abilities, get_actor_name

admin.site.index_title = "Dashboard"
admin.site.unregister(User)
admin.site.unregister(Group)  # the three groups are fixed in web.permissions


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

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        set_role(form.instance, form.cleaned_data["role"])

    @display(description="Role")
    def role(self, user):
        return "superuser" if user.is_superuser else get_role(user) or "–"


class NewTokenForm(forms.Form):
    """The name of a token in the audit trail, and its abilities."""

    name = forms.CharField(max_length=100, validators=[validate_token_name])
    abilities = forms.MultipleChoiceField(
        choices=[(one, one) for one in ABILITIES], widget=forms.CheckboxSelectMultiple
    )
    days = forms.IntegerField(
        label="Expires after days",
        required=False,
        initial=DEFAULT_LIFETIME_DAYS,
        min_value=1,
        max_value=MAX_LIFETIME_DAYS,
        help_text="Leave it empty for a token that does not expire.",
    )

    def clean_name(self):
        name = self.cleaned_data["name"]
        if ApiToken.objects.filter(name=name).exists():
            raise forms.ValidationError("A token with this name already exists.")
        return name


def _create(request: HttpRequest, row: None, data: Mapping[str, Any]) -> ActionResult:
    missing = set(data["abilities"]) - get_abilities(request.user)
    if missing:
        raise Refused(
            "forbidden", "A token cannot have abilities that you do not have.", status=403
        )
    secret = create_token(
        data["name"],
        data["abilities"],
        created_by=get_actor_name(request),
        owner=cast("User", request.user),  # the admin's pages need a login
        lifetime=timedelta(days=data["days"]) if data["days"] else None,
    )
    return ActionResult(
        f"Copy the token now, it is not shown again: {secret}",
        reverse("admin:accounts_apitoken_changelist"),
    )


def _revoke(request: HttpRequest, token: ApiToken, data: Mapping[str, Any]) -> ActionResult:
    is_new = token.revoke(by=get_actor_name(request))
    return ActionResult(f"You revoked {token}." if is_new else f"{token} was already revoked.")


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = [
        "name",
        "permissions",
        "created_by",
        "created_at",
        "expires_at",
        "last_used_at",
        "revoked_at",
    ]
    fields = [*list_display, "revoked_by"]
    readonly_fields = ["permissions"]
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

    @display(description="Permissions")
    def permissions(self, token):
        current = token.get_current_abilities()
        lost = [one for one in token.abilities if one not in current]
        note = f" (its owner no longer has: {', '.join(lost)})" if lost else ""
        return ", ".join(one for one in token.abilities if one in current) + note
