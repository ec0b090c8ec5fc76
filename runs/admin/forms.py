"""The forms of the actions on runs."""

from collections.abc import Sequence

from django import forms
from django.conf import settings

from host.errors import Refused
from host.git.validation import validate_ref
from runs.repository import find_preview_base, open_repository
from runs.rules import PRIORITY_MAX
from web.admin_actions import OptionalReasonForm, ReasonForm
from web.visible_answers import LINE, TEXT

HOURS = (4, 24, 72)


def list_branches() -> list[str]:
    """Return the branches of which a run has something to ship, as of the last fetch.

    Not the target branch, branches that it contains, and names that a run may not have.
    """
    config = settings.OROBOROS
    try:
        repo = open_repository(config)
        heads = repo.list_branch_heads()
        target = find_preview_base(repo, config.target_branch)
        merged = repo.filter_contained(target, heads.values())
    except Refused:  # nothing was fetched yet
        return []
    return sorted(name for name, head in heads.items() if head not in merged and _is_valid(name))


def _is_valid(name: str) -> bool:
    try:
        return validate_ref(name) != settings.OROBOROS.target_branch
    except Refused:
        return False


class NewRunForm(forms.Form):
    """A branch or a commit."""

    branch = forms.CharField(
        max_length=200,
        required=False,
        strip=False,
        label="Branch",
        widget=forms.TextInput(attrs={"list": "branches", "autocomplete": "off"}),
        help_text="Choose a branch, or type the name of a branch that was pushed since.",
    )
    commit = forms.CharField(
        max_length=40,
        required=False,
        label="Commit (instead of a branch)",
        help_text="The full commit id: 40 hexadecimal digits.",
    )
    title = forms.CharField(
        max_length=200,
        required=False,
        label="Title",
        help_text="Default: the branch name.",
        validators=[TEXT, LINE],
    )
    priority = forms.IntegerField(
        min_value=-PRIORITY_MAX,
        max_value=PRIORITY_MAX,
        required=False,
        label="Priority",
        help_text="For operators. Runs with a higher number get a slot first. Default: 0.",
    )

    another = forms.BooleanField(
        required=False,
        label="Create another run",
        help_text="Otherwise the open run of the same branch or commit opens, if there is one.",
    )

    def clean(self):
        data = super().clean() or {}
        branch, commit = data.get("branch", ""), data.get("commit", "")
        if bool(branch) == bool(commit):
            raise forms.ValidationError("Enter either a branch or a commit.")
        data["title"] = data.get("title") or branch or commit[:12]
        return data


class ApproveForm(OptionalReasonForm):
    """Approves the commit that the run's page showed, which the page's link passes on."""

    commit_sha = forms.CharField(
        widget=forms.HiddenInput,
        max_length=40,
        error_messages={
            "required": "No commit was passed. Open this page with the Approve button of the run."
        },
    )
    accept_checks = forms.BooleanField(
        required=False,
        label="Run only the branch's own checks",
        help_text="For operators. Otherwise the target branch's checks run as well.",
    )


def build_checklist_field(items: Sequence[str]) -> forms.MultipleChoiceField:
    """Return the field that confirms the items; the approval itself requires all of them."""
    return forms.MultipleChoiceField(
        choices=[(item, item) for item in items],
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Checklist of the target branch",
        help_text="Each item has to be ticked.",
    )


class SlotHolderForm(ReasonForm):
    """Acts on the run that held the slot when its page was shown, which the link passes on."""

    run_id = forms.UUIDField(
        widget=forms.HiddenInput,
        error_messages={
            "required": "No run was passed. Open this page with the button of the slot."
        },
    )


def build_process_field(names: Sequence[str]) -> forms.ChoiceField:
    """Return the field that chooses one of a preview's processes, or all."""
    choices = [("", "All"), *((name, name) for name in names)]
    return forms.ChoiceField(required=False, choices=choices, label="Processes")


class KeepForm(forms.Form):
    """How long to keep the preview."""

    hours = forms.TypedChoiceField(
        coerce=int,
        choices=[(hours, f"{hours} hours from now") for hours in HOURS],
        label="Keep for",
    )


class PushForm(forms.Form):
    """Whether to push, or only to ask the remote."""

    dry_run = forms.BooleanField(
        required=False, label="Only ask the remote whether it would accept the push"
    )


class FreezeForm(forms.Form):
    """The reason and the optional end of a freeze."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, validators=[TEXT]
    )
    until = forms.DateTimeField(
        required=False,
        label=f"Until ({settings.TIME_ZONE}; empty: no end)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
    )
