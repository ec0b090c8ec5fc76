"""The forms that create and change a user: the role decides what the person may do."""

from typing import Any

from django import forms
from django.contrib.auth.models import Group, User
from unfold import forms as unfold_forms
from unfold.widgets import UnfoldAdminRadioSelectWidget

from core.roles import ROLES, find_highest

CHOICES = tuple((role, role.capitalize()) for role in ROLES)
NO_ROLE = ("", "None")
ROLES_HELP = (
    "A viewer reads. An approver also creates, approves and rejects runs. An operator may do "
    "everything else too. Without a role only a superuser logs in."
)


def get_role(user: User) -> str:
    """Return the user's role, the one with most abilities of several; "" without one."""
    return find_highest({group.name for group in user.groups.all()})


def set_role(user: User, role: str) -> None:
    """Replace the user's role, "" for none. Other groups are left as they are."""
    user.groups.remove(*Group.objects.filter(name__in=ROLES))
    if role:
        user.groups.add(Group.objects.get_or_create(name=role)[0])


class RoleMixin(forms.ModelForm):
    """Gives a user with a role the staff status, which Django's admin requires to log in."""

    role = forms.ChoiceField(
        choices=CHOICES, widget=UnfoldAdminRadioSelectWidget, help_text=ROLES_HELP
    )

    def clean(self) -> dict[str, Any] | None:
        data = super().clean()
        is_superuser = self.cleaned_data.get("is_superuser", self.instance.is_superuser)
        self.instance.is_staff = bool(self.cleaned_data.get("role")) or is_superuser
        return data


class UserCreationForm(RoleMixin, unfold_forms.UserCreationForm):
    """Name, address, role and password of a new person."""


class UserChangeForm(RoleMixin, unfold_forms.UserChangeForm):
    """As above, and whether the account is active. The password has a form of its own."""

    role = forms.ChoiceField(
        choices=(NO_ROLE, *CHOICES),
        widget=UnfoldAdminRadioSelectWidget,
        required=False,
        help_text=ROLES_HELP,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.initial["role"] = get_role(self.instance)
