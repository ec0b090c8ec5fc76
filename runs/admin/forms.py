"""What people fill in before a verb of a run."""

from django import forms
from django.conf import settings

from host.errors import Refused
from runs.repository import repository
from runs.rules import PRIORITY_MAX
from web.admin_actions import MaybeReason

HOURS = (4, 24, 72)


def branches() -> list[str]:
    """Return the remote's branches as last fetched, without the one that is shipped to."""
    try:
        known = repository(settings.OROBOROS).branches()
    except Refused:
        return []
    return sorted(name for name in known if name != settings.OROBOROS.target_branch)


class NewRun(forms.Form):
    """One branch of those known, or a name typed, or a commit."""

    branch = forms.CharField(
        max_length=200,
        required=False,
        strip=False,
        label="Branch",
        widget=forms.TextInput(attrs={"list": "branches", "autocomplete": "off"}),
        help_text="Choose one, or type the name of one that was pushed just now.",
    )
    commit = forms.CharField(
        max_length=40,
        required=False,
        label="Commit, instead of a branch",
        help_text="The full id, 40 hexadecimal digits.",
    )
    title = forms.CharField(
        max_length=200, required=False, label="Title", help_text="Default: the branch's name."
    )
    priority = forms.IntegerField(
        min_value=-PRIORITY_MAX,
        max_value=PRIORITY_MAX,
        required=False,
        label="Priority",
        help_text="For operators: a higher number is before all lower ones in the line; default 0.",
    )

    def clean(self):
        given = super().clean() or {}
        branch, commit = given.get("branch", ""), given.get("commit", "")
        if bool(branch) == bool(commit):
            raise forms.ValidationError("Name a branch or a commit, one of them.")
        given["title"] = given.get("title") or branch or commit[:12]
        return given


class Approving(MaybeReason):
    """The commit that the run's page showed comes back, so that no other is approved."""

    commit_sha = forms.CharField(
        widget=forms.HiddenInput,
        max_length=40,
        error_messages={"required": "Nothing is approved: come here by the button on its page."},
    )
    accept_checks = forms.BooleanField(
        required=False,
        label="Run the branch's own checks in place of the target branch's",
        help_text="For operators; else both sets run.",
    )


class Keeping(forms.Form):
    """For how long."""

    hours = forms.TypedChoiceField(
        coerce=int,
        choices=[(hours, f"{hours} hours from now") for hours in HOURS],
        label="Keep for",
    )


class Freezing(forms.Form):
    """Why shipping stands still, and until when."""

    reason = forms.CharField(widget=forms.Textarea(attrs={"rows": 3}), max_length=2000)
    until = forms.DateTimeField(
        required=False,
        label=f"Until ({settings.TIME_ZONE}; empty: until somebody lifts it)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
