"""The admin's pages of the variables of applications: a file's names, and the change of one."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.views.decorators.debug import sensitive_post_parameters

from host.errors import Refused
from host.operator_settings import variable_files
from host.operator_settings.variable_files import FileState, VariableFile
from oroboros.operator_settings.changes import change_variable, list_changes
from oroboros.operator_settings.pages import require_operator
from web.admin_actions import ActionResult, AdminAction, ReasonForm
from web.permissions import OPERATE, ActionState


class SecretTextarea(forms.Textarea):
    """A text that no page shows again, not even with an error, and that no browser keeps."""

    def __init__(self) -> None:
        super().__init__(
            {"rows": 3, "autocomplete": "off", "spellcheck": "false", "data-secret": ""}
        )

    def format_value(self, value: Any) -> str:
        return ""


class RemovalForm(ReasonForm):
    """Why, and the version of the file that the person saw."""

    version = forms.CharField(widget=forms.HiddenInput, required=False, max_length=100)


class VariableForm(RemovalForm):
    """The new value of a variable, and why."""

    field_order = ["name", "value", "reason"]
    name = forms.CharField(label="Name", max_length=variable_files.NAME_LENGTH)
    value = forms.CharField(
        widget=SecretTextarea,
        required=False,
        max_length=variable_files.VALUE_LENGTH,
        label="Value",
        help_text="It may have several lines. Blanks around it are left out. "
        "It is not shown again, here or anywhere.",
    )

    def clean_value(self) -> str:
        """Return the value with the line ends of a file: a browser sends those of HTTP."""
        return str(self.cleaned_data["value"]).replace("\r\n", "\n")


def show_file(request: HttpRequest, key: str) -> HttpResponse:
    """The names of a file's variables, when it is read, and its last changes."""
    state = _read_state(request, key)
    context = {
        **admin.site.each_context(request),
        "title": f"Variables: {state.file.title}",
        "state": state,
        "changes": list_changes(state.file),
    }
    return TemplateResponse(request, "oroboros/variables.html", context)


@sensitive_post_parameters("value")
def set_page(request: HttpRequest, key: str) -> HttpResponse:
    """Ask for a variable's value, of that in `?name=` or a new one; on POST set it."""
    state = _read_state(request, key)
    name = request.GET.get("name", "")
    data = request.POST if request.method == "POST" else None
    form = VariableForm(data, initial={"name": name, "version": state.version}, label_suffix="")
    if name in state.names:
        form.fields["name"].disabled = True
    label = "Change" if name in state.names else "Add"
    title = f"Change {name}" if name in state.names else "Add a variable"
    return _answer(request, state, form, title=title, label=label)


def remove_page(request: HttpRequest, key: str) -> HttpResponse:
    """Ask whether to remove the variable in `?name=`; on POST remove it."""
    state = _read_state(request, key)
    name = request.GET.get("name", "")
    if not name or (request.method != "POST" and name not in state.names):
        raise Http404
    data = request.POST if request.method == "POST" else None
    form = RemovalForm(data, initial={"version": state.version}, label_suffix="")
    return _answer(request, state, form, title=f"Remove {name}", label="Remove", removed=name)


def _answer(
    request: HttpRequest,
    state: FileState,
    form: forms.Form,
    *,
    title: str,
    label: str,
    removed: str = "",
) -> HttpResponse:
    """Show the form; one that is valid is carried out, or shown again with the refusal."""
    page, status = reverse("admin-variables", args=[state.file.key]), 200
    if form.is_bound and form.is_valid():
        fields = form.cleaned_data
        name, value = (removed, None) if removed else (fields["name"], fields["value"])
        try:
            text = change_variable(
                request, state.file, name, value, fields["reason"], fields["version"]
            )
        except Refused as refused:
            _show_refusal(form, state.file, refused)
            status = refused.status
        else:
            messages.success(request, text)
            return redirect(page)
    action = AdminAction(
        "variable", label, OPERATE, state.file.effect, lambda *_: ActionResult(""),
        is_dangerous=bool(removed),
    )  # fmt: skip
    context = {
        **admin.site.each_context(request),
        "title": f"{state.file.title}: {title}",
        "action": action,
        "form": form,
        "state": ActionState(not state.problem, state.problem),
        "omitted_fields": [],
        "back_url": page,
    }
    return TemplateResponse(request, "oroboros/action_form.html", context, status=status)


def _show_refusal(form: forms.Form, file: VariableFile, refused: Refused) -> None:
    """Show the refusal. After a conflict the form is about the file as it is now."""
    if refused.code != "env_file_changed":
        form.add_error(None, refused.detail)
        return
    version = variable_files.read_state(settings.OROBOROS, file).version
    form.data = {**dict(form.data.items()), "version": version}
    address = reverse("admin-variables", args=[file.key])
    link = '{} <a href="{}">Names and last changes of {}</a>'
    form.add_error(None, format_html(link, refused.detail, address, file.name))


def _read_state(request: HttpRequest, key: str) -> FileState:
    """Return the file's state. Raises PermissionDenied, Http404."""
    require_operator(request)
    try:
        return variable_files.read_state(settings.OROBOROS, variable_files.find_file(key))
    except Refused:
        raise Http404 from None


ADDRESS = "admin/settings/variables/<str:key>/"
urlpatterns = [
    path(ADDRESS, admin.site.admin_view(show_file), name="admin-variables"),
    path(f"{ADDRESS}set/", admin.site.admin_view(set_page), name="admin-variable-set"),
    path(f"{ADDRESS}remove/", admin.site.admin_view(remove_page), name="admin-variable-remove"),
]
