"""The admin's pages of the settings, for operators: all of them, and the change of one."""

from itertools import groupby
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from host.errors import Refused
from host.operator_settings import run_time, sources, variable_files
from host.operator_settings.sources import Setting
from host.settings_rules import BOOLEANS, CHOICES, NUMBERS
from oroboros.operator_settings.changes import change_setting, list_changes
from runs.rules import PushMode
from web.admin_actions import ActionResult, AdminAction, ReasonForm
from web.permissions import ALLOWED, OPERATE, has_ability


def list_choices(name: str) -> tuple[str, ...]:
    """Return the values that a setting may have; () for a number."""
    if name == run_time.PUSH_MODE:
        return tuple(PushMode.values)
    return ("true", "false") if name in BOOLEANS else CHOICES.get(name, ())


class SettingForm(ReasonForm):
    """The new value, and why."""

    field_order = ["value", "reason"]
    value = forms.CharField(required=False, max_length=200, label="Value")

    def __init__(self, setting: Setting, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["value"]
        default = f"The default: {setting.default}"
        if choices := list_choices(setting.name):
            pairs = [("", default), *((one, one) for one in choices)]
            field.widget = forms.Select(choices=pairs)
        else:
            low, high = NUMBERS[setting.name]
            field.help_text = f"A whole number from {low} to {high}. {default}, also if empty."
        is_set = setting.source == sources.RUN_TIME
        field.initial = setting.value if is_set else ""


def show_settings(request: HttpRequest) -> HttpResponse:
    """All settings by section, the variables of applications by name, and the last changes."""
    require_operator(request)
    found = sources.list_settings(settings.OROBOROS)
    context = {
        **admin.site.each_context(request),
        "title": "Settings",
        "changeable": [one for one in found if one.name in run_time.NAMES],
        "sections": [
            (section, [one for one in group if one.name not in run_time.NAMES])
            for section, group in groupby(found, key=lambda one: one.section)
        ],
        "files": [
            variable_files.read_state(settings.OROBOROS, one) for one in variable_files.FILES
        ],
        "changes": list_changes(),
    }
    return TemplateResponse(request, "oroboros/settings.html", context)


def change_page(request: HttpRequest, name: str) -> HttpResponse:
    """Ask for the new value of one setting; on POST change it, or show why it was refused."""
    require_operator(request)
    found = sources.list_settings(settings.OROBOROS)
    setting = next((one for one in found if one.name == name and one.may_change), None)
    if setting is None:
        raise Http404
    data = request.POST if request.method == "POST" else None
    form, status = SettingForm(setting, data, label_suffix=""), 200
    if request.method == "POST" and form.is_valid():
        try:
            text = change_setting(
                request, name, form.cleaned_data["value"], form.cleaned_data["reason"]
            )
        except Refused as refused:
            form.add_error(None, refused.detail)
            status = refused.status
        else:
            messages.success(request, text)
            return redirect("admin-settings")
    context = {
        **admin.site.each_context(request),
        "title": f"Change {name}",
        "action": _describe_change(setting),
        "form": form,
        "state": ALLOWED,
        "omitted_fields": [],
        "back_url": reverse("admin-settings"),
    }
    return TemplateResponse(request, "oroboros/action_form.html", context, status=status)


def _describe_change(setting: Setting) -> AdminAction:
    text = f"{setting.meaning} It is in effect at once, without a restart."
    return AdminAction("change", "Change", OPERATE, text, lambda *_: ActionResult(""))


def require_operator(request: HttpRequest) -> None:
    if not has_ability(request, OPERATE):
        raise PermissionDenied


urlpatterns = [
    path("admin/settings/", admin.site.admin_view(show_settings), name="admin-settings"),
    path(
        "admin/settings/<str:name>/change/",
        admin.site.admin_view(change_page),
        name="admin-setting-change",
    ),
]
