"""The forms of targets in the admin."""

from django import forms

from notifications.models import Target
from notifications.rules import PERSONAL, NotificationEvent
from web.permissions import is_branch_pattern
from web.visible_answers import TEXT

FOR_ALL = [choice for choice in NotificationEvent.choices if choice[0] not in PERSONAL]


def make_events_field(choices: list[tuple[str, str]]) -> forms.MultipleChoiceField:
    return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple)


class WantedForm(forms.Form):
    """The events and the branches that a target is told of."""

    events = make_events_field(FOR_ALL)
    branches = forms.CharField(
        required=False,
        label="Only of these branches",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Patterns as for git branch --list, such as feature/*, one on each line. Empty: "
        "all. What concerns no branch is told in any case.",
    )

    def clean_branches(self):
        patterns = self.cleaned_data["branches"].split()
        wrong = [one for one in patterns if not is_branch_pattern(one)]
        if wrong:
            raise forms.ValidationError(f"{wrong[0]} is no pattern of branches.")
        return patterns


class NewTargetForm(WantedForm):
    """A name that people know the target by, and where it is."""

    name = forms.CharField(max_length=100, validators=[TEXT])
    address = forms.CharField(max_length=2000, widget=forms.PasswordInput, validators=[TEXT])
    field_order = ["name", "address", "secret", "events", "branches"]


class NewWebhookForm(NewTargetForm):
    address = forms.CharField(
        max_length=2000, label="Address", help_text="Such as https://hooks.example.com/oroboros."
    )
    secret = forms.CharField(
        max_length=200,
        required=False,
        widget=forms.PasswordInput,
        label="Secret (optional)",
        help_text="whsec_ and 24 to 64 bytes in Base64. Without one Oroboros makes it.",
    )


class NewServiceForm(NewTargetForm):
    address = forms.CharField(
        max_length=2000,
        widget=forms.PasswordInput,
        label="Address",
        help_text="As apprise has it, such as slack://…, mmost://… or ntfy://….",
    )


class NewMailForm(WantedForm):
    """A person's own notices by e-mail."""

    address = forms.EmailField(label="E-mail address")
    events = make_events_field(NotificationEvent.choices)
    field_order = ["address", "events", "branches"]


class ChangeForm(WantedForm):
    address = forms.CharField(
        max_length=2000,
        required=False,
        widget=forms.PasswordInput,
        label="New address (optional)",
        help_text="Empty: it stays as it is.",
        validators=[TEXT],
    )
    field_order = ["address", "events", "branches"]


def fill_in(form: forms.Form, row: Target) -> None:
    """Show what the target is told of now."""
    if row.owner_id is not None:
        form.fields["events"] = make_events_field(NotificationEvent.choices)
    form.fields["events"].initial = row.events
    form.fields["branches"].initial = "\n".join(row.branches)
