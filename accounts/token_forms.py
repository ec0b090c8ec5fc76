"""The forms that create and rotate API tokens."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms

from accounts.models import ApiToken
from accounts.reserved_names import validate_token_name
from accounts.tokens import (
    GRACE_HOURS,
    MAX_GRACE_HOURS,
    MAX_LIFETIME_DAYS,
    get_default_lifetime,
    validate_patterns,
)
from web.permissions import TOKEN_ABILITIES, RunLimits


class LifetimeForm(forms.Form):
    """After how many days the token expires."""

    days = forms.IntegerField(
        label="Expires after days",
        required=False,
        initial=lambda: get_default_lifetime().days,
        min_value=1,
        max_value=MAX_LIFETIME_DAYS,
        help_text="Leave it empty for a token that does not expire.",
    )


def read_lifetime(days: int | None) -> timedelta | None:
    """Return the lifetime of a token of so many days; None: it does not expire."""
    return timedelta(days=days) if days else None


class NewTokenForm(LifetimeForm):
    """The name of a token in the audit trail, its abilities, and the runs that it is limited to."""

    name = forms.CharField(max_length=100, validators=[validate_token_name])
    abilities = forms.MultipleChoiceField(
        choices=[(one, one) for one in TOKEN_ABILITIES], widget=forms.CheckboxSelectMultiple
    )
    branches = forms.CharField(
        required=False,
        label="Only runs of these branches",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Patterns as for git branch --list, such as feature/*, one on each line. Other "
        "runs it neither reads nor changes. Empty: all branches.",
    )
    own_runs_only = forms.BooleanField(
        required=False,
        label="Only runs that it made",
        help_text="Other runs it neither reads nor changes.",
    )
    field_order = ["name", "abilities", "branches", "own_runs_only", "days"]

    def clean_name(self):
        name = self.cleaned_data["name"]
        if ApiToken.objects.filter(name=name).exists():
            raise forms.ValidationError("A token with this name already exists.")
        return name

    def clean_branches(self):
        patterns = self.cleaned_data["branches"].split()
        validate_patterns(patterns)
        return patterns


def read_limits(data: Mapping[str, Any]) -> RunLimits:
    """Return the limits that the valid form of a new token states."""
    return RunLimits(tuple(data["branches"]), is_own_only=data["own_runs_only"])


class RotateTokenForm(LifetimeForm):
    """How long the present secret goes on, and the new end of the token."""

    grace_hours = forms.IntegerField(
        label="The present secret goes on for hours",
        initial=GRACE_HOURS,
        min_value=0,
        max_value=MAX_GRACE_HOURS,
        help_text="0 ends it at once. It never lasts longer than it would have without a new one.",
    )
    field_order = ["grace_hours", "days"]
