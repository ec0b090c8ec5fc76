"""People and their tokens."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth import admin as auth  # registers its models, which are replaced here
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from accounts.authentication import ABILITIES
from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from accounts.tokens import create_token
from host.errors import Refused
from web.admin_actions import Done, Rows, Verb
from web.permissions import OPERATE, abilities_of, actor

admin.site.index_title = "Front page"
admin.site.unregister(User)
admin.site.unregister(Group)  # the three groups are fixed; people are put into them


@admin.register(User)
class UserAdmin(auth.UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ["username", "email", "may", "is_active", "last_login"]
    list_filter = ["is_active", "groups"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "password", "email"]}),
        (
            "May",
            {
                "fields": ["is_active", "is_staff", "groups", "is_superuser"],
                "description": "viewer looks; approver also makes runs and approves; operator may "
                "all. Without staff status nobody logs in here.",
            },
        ),
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).prefetch_related("groups")

    @display(description="Groups")
    def may(self, user):
        names = ", ".join(group.name for group in user.groups.all())
        return "superuser" if user.is_superuser else names or "–"


class NewToken(forms.Form):
    """A name for the audit trail, and what the token may."""

    name = forms.CharField(max_length=100, validators=[validate_token_name])
    abilities = forms.MultipleChoiceField(
        choices=[(one, one) for one in ABILITIES], widget=forms.CheckboxSelectMultiple
    )

    def clean_name(self):
        name = self.cleaned_data["name"]
        if ApiToken.objects.filter(name=name).exists():
            raise forms.ValidationError("There is a token of that name already.")
        return name


def _create(request: HttpRequest, row: None, given: Mapping[str, Any]) -> Done:
    missing = set(given["abilities"]) - abilities_of(request.user)
    if missing:
        raise Refused("forbidden", "A token may not do more than you may.", status=403)
    secret = create_token(given["name"], given["abilities"], created_by=actor(request))
    return Done(
        f"Copy it now, it is not shown again: {secret}",
        reverse("admin:accounts_apitoken_changelist"),
    )


def _revoke(request: HttpRequest, token: ApiToken, given: Mapping[str, Any]) -> Done:
    is_new = token.revoke(by=actor(request))
    return Done(f"{token} is revoked." if is_new else f"{token} was revoked already.")


@admin.register(ApiToken)
class ApiTokenAdmin(Rows):
    list_display = ["name", "may", "created_by", "created_at", "last_used_at", "revoked_at"]
    fields = [*list_display, "revoked_by"]
    readonly_fields = ["may"]
    verbs = (
        Verb(
            "new",
            "New token",
            OPERATE,
            "A program is known by it.",
            _create,
            NewToken,
            is_main=True,
            on_row=False,
        ),
        Verb(
            "revoke",
            "Revoke",
            OPERATE,
            "Whoever uses it is refused from now on.",
            _revoke,
            is_grave=True,
            fits=lambda token: token.revoked_at is None,
        ),
    )

    @display(description="May")
    def may(self, token):
        return ", ".join(token.abilities)
