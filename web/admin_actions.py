"""Read-only admin pages, and the actions that people perform on their rows.

Every action has a page of its own: GET describes it and asks for confirmation, POST performs it.
The buttons are plain links, so they change nothing and work without JavaScript.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from unfold.admin import ModelAdmin

from host.errors import Refused
from web.pagination import BoundedPaginator, RowList
from web.permissions import (
    ALLOWED,
    OPERATE,
    VIEW,
    ActionState,
    get_abilities,
    has_ability,
    require_ability,
)
from web.templatetags.columns import make_age_column, make_person_column
from web.visible_answers import TEXT


@dataclass(frozen=True)
class ActionResult:
    """The message that reports what an action did, and the page to open next.

    Without `url` the row's page opens, or the dashboard if the action has no row.
    """

    text: str
    url: str = ""


@dataclass(frozen=True)
class AdminAction:
    """Something people do to a row, or with `is_for_row=False` something without a row.

    `perform` is called with the request, the row (or None) and the form's cleaned data. It may
    raise Refused: the form is then shown again with the refusal and its status.
    """

    name: str
    label: str
    ability: str
    description: str
    perform: Callable[[HttpRequest, Any, Mapping[str, Any]], ActionResult]
    form: type[forms.Form] = forms.Form
    # Gives the form the fields that depend on the row.
    adapt_form: Callable[[forms.Form, Any], None] = lambda form, row: None
    is_primary: bool = False
    is_dangerous: bool = False
    is_for_row: bool = True
    # Whether the list offers it for several selected rows at once.
    is_bulk: bool = False
    # Whether this person may perform it on the row now; asked only of who has the ability.
    decide: Callable[[HttpRequest, Any], ActionState] = lambda request, row: ALLOWED
    # What a person should see before confirming: a template, and the context for it. The key
    # `omitted_fields` of that context lists fields of the form that are not shown for this row.
    details_template: str = ""
    get_details: Callable[[HttpRequest, Any], Mapping[str, Any]] = lambda request, row: {}
    # Values of the linking page, such as the commit it showed. They become the form's initial
    # values, so that the action applies to what the person saw.
    get_query: Callable[[Any], Mapping[str, str]] = lambda row: {}

    def get_state(self, request: HttpRequest, row: Any) -> ActionState:
        """Return whether the requester may perform the action on `row` now."""
        abilities = get_abilities(request.user)
        return require_ability(self.ability, abilities) or self.decide(request, row)


def offer_if(is_offered: bool, reason: str) -> ActionState:
    """Return the state of an action that is hidden, for `reason`, where it has no meaning."""
    return ALLOWED if is_offered else ActionState(False, reason, is_hidden=True)


def make_send_again(receiver: str) -> AdminAction:
    """Return the action that sends a message of `core.outbox` again; `receiver` has it then.

    Performed on a message that was sent it raises Refused `already_sent`.
    """
    is_sent = f"{receiver} has it already."

    def send_again(request: HttpRequest, row: Any, fields: Mapping[str, Any]) -> ActionResult:
        if not type(row).objects.send_again(row.pk):
            raise Refused("already_sent", is_sent)
        return ActionResult("It is sent within seconds.")

    return AdminAction(
        "send-again",
        "Send now",
        OPERATE,
        "The message is sent now, and tried for another day.",
        send_again,
        is_bulk=True,
        decide=lambda request, row: offer_if(row.is_waiting, is_sent),
    )


class ReasonForm(forms.Form):
    """A required reason, which other people read."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, label="Reason", validators=[TEXT]
    )


class OptionalReasonForm(forms.Form):
    """An optional reason."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2000,
        required=False,
        label="Reason (optional)",
        validators=[TEXT],
    )


class ReadOnlyAdmin(ModelAdmin):
    """Rows that the product writes: people view them, and change them through `page_actions`."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # which count every row
    paginator = BoundedPaginator
    list_disable_select_all = True
    page_actions: tuple[AdminAction, ...] = ()
    change_list_template = "oroboros/change_list.html"
    change_form_outer_before_template = "oroboros/action_buttons.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RowList]:
        return RowList

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = [make_age_column(self.model, one) for one in super().get_list_display(request)]
        return [make_person_column(self.model, one) for one in columns]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_ability(request, VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_ability(request, VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        urls = []
        for action in self.page_actions:
            if action.is_bulk:
                bulk = self.admin_site.admin_view(self._make_bulk_view(action))
                urls.append(path(f"selected/{action.name}/", bulk, name=self._bulk_name(action)))
        for action in self.page_actions:
            view = self.admin_site.admin_view(self._make_view(action))
            route = f"<path:object_id>/{action.name}/" if action.is_for_row else f"{action.name}/"
            urls.append(path(route, view, name=self._url_name(action)))
        # Ours come first: Django's last pattern, `<path:object_id>/`, matches every address.
        return [*urls, *super().get_urls()]

    def _url_name(self, action: AdminAction) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{action.name}"

    def _make_view(self, action: AdminAction) -> Callable[..., HttpResponse]:
        return lambda request, object_id="": self.action_view(request, action, object_id)

    def _bulk_name(self, action: AdminAction) -> str:
        return f"{self._url_name(action)}_selected"

    def _make_bulk_view(self, action: AdminAction) -> Callable[..., HttpResponse]:
        return lambda request: self.bulk_view(request, action)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return Django's actions on selected rows: each opens the page that asks to confirm it."""
        return {
            action.name: (self._make_selection(action), action.name, action.label)
            for action in self.page_actions
            if action.is_bulk and has_ability(request, action.ability)
        }

    def _make_selection(self, action: AdminAction) -> Callable[..., HttpResponse]:
        def select(model_admin: ModelAdmin, request: HttpRequest, rows: QuerySet) -> HttpResponse:
            query = urlencode({"row": [row.pk for row in rows]}, doseq=True)
            return redirect(f"{reverse(f'admin:{self._bulk_name(action)}')}?{query}")

        return select

    def row_url(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def action_url(self, action: AdminAction, row: Model | None = None) -> str:
        url = reverse(f"admin:{self._url_name(action)}", args=[] if row is None else [row.pk])
        query = {} if row is None else action.get_query(row)
        return f"{url}?{urlencode(query)}" if query else url

    def list_actions(self, request: HttpRequest, row: Model | None) -> dict[str, Any]:
        """Return the template's context of the actions on `row`, or without a row.

        `available_actions` are those that this person may perform now, `disabled_actions` the
        labels of those that they may not perform now, by the reason.
        """
        available, disabled = [], defaultdict(list)
        for action in self.page_actions:
            if action.is_for_row != (row is not None):
                continue
            state = action.get_state(request, row)
            if state.allowed and not state.is_hidden:
                available.append({"action": action, "url": self.action_url(action, row)})
            elif not state.is_hidden:
                disabled[state.reason].append(action.label)
        return {"available_actions": available, "disabled_actions": dict(disabled)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {**self.list_actions(request, None), **(extra_context or {})}
        return super().changelist_view(request, context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        actions = self.list_actions(request, row) if row else {}
        context = {**actions, "show_save": False, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def action_view(
        self, request: HttpRequest, action: AdminAction, object_id: str
    ) -> HttpResponse:
        """Ask for confirmation; on POST perform the action, or show why it was refused."""
        row = self._get_action_row(request, action, object_id)
        # None leaves the form unbound: a bound one would show errors before anything was entered.
        data = request.POST if request.method == "POST" else None
        form = action.form(data, initial=request.GET, label_suffix="")
        action.adapt_form(form, row)
        status = 200
        if request.method == "POST" and form.is_valid():
            try:
                result = action.perform(request, row, form.cleaned_data)
            except Refused as refusal:
                form.add_error(None, refusal.detail)
                status = refusal.status
            else:
                messages.success(request, result.text)
                return redirect(result.url or (self.row_url(row) if row else "admin:index"))
        context = self._action_context(request, action, row, form)
        return TemplateResponse(request, "oroboros/action_form.html", context, status=status)

    def bulk_view(self, request: HttpRequest, action: AdminAction) -> HttpResponse:
        """Ask for confirmation of an action on the rows of the query; on POST perform it on each.

        A row that does not allow the action, or whose action is refused, is reported by itself.
        """
        rows = self._get_selected_rows(request, action)
        form = action.form(request.POST if request.method == "POST" else None, label_suffix="")
        if request.method == "POST" and form.is_valid():
            for row in rows:
                self._perform_on_row(request, action, row, form.cleaned_data)
            return redirect(self._list_url())
        states = [(row, action.get_state(request, row)) for row in rows]
        is_allowed = any(state.allowed for row, state in states)
        context = {
            **self._form_context(request, action, form),
            "title": f"{action.label}: {len(rows)} selected",
            "state": ActionState(is_allowed, "None of the selected rows allows this now."),
            "selected": states,
            "back_url": self._list_url(),
        }
        return TemplateResponse(request, "oroboros/action_form.html", context)

    def _get_selected_rows(self, request: HttpRequest, action: AdminAction) -> list[Model]:
        """Return the rows of the query. Raises PermissionDenied, Http404."""
        if not has_ability(request, action.ability):
            raise PermissionDenied
        asked = request.GET.getlist("row")[: self.list_per_page]
        rows = [self.get_object(request, key) for key in dict.fromkeys(asked)]
        if not rows or None in rows:
            raise Http404
        return rows

    def _perform_on_row(
        self, request: HttpRequest, action: AdminAction, row: Model, data: Mapping[str, Any]
    ) -> None:
        """Perform the action and add a message that says what it did, or why not."""
        state = action.get_state(request, row)
        if not state.allowed:
            messages.error(request, f"{row}: {state.reason}")
            return
        try:
            messages.success(request, f"{row}: {action.perform(request, row, data).text}")
        except Refused as refusal:
            messages.error(request, f"{row}: {refusal.detail}")

    def _list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def _get_action_row(
        self, request: HttpRequest, action: AdminAction, object_id: str
    ) -> Model | None:
        """Return the row to act on, if the action has one. Raises PermissionDenied, Http404."""
        if not has_ability(request, action.ability):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id)) if action.is_for_row else None
        if action.is_for_row and row is None:
            raise Http404
        return row

    def _action_context(
        self, request: HttpRequest, action: AdminAction, row: Model | None, form: forms.Form
    ) -> dict[str, Any]:
        return {
            **self._form_context(request, action, form),
            "title": action.label if row is None else f"{action.label}: {row}",
            "row": row,
            "original": row,
            "state": action.get_state(request, row),
            "back_url": self.row_url(row) if row else reverse("admin:index"),
            **action.get_details(request, row),
        }

    def _form_context(
        self, request: HttpRequest, action: AdminAction, form: forms.Form
    ) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "action": action,
            "form": form,
            "opts": self.opts,
            "omitted_fields": [],
        }


def build_live_context(request: HttpRequest) -> dict[str, str]:
    """Return the context with which a page is only its live parts: `?live`, which live.js adds.

    Without the surrounding page, whose forms differ each time, an unchanged answer has one ETag.
    """
    return {"base_template": "oroboros/live.html"} if "live" in request.GET else {}


class DetailPageAdmin(ReadOnlyAdmin):
    """Rows whose detail page is `page_template` instead of Django's change form."""

    page_template = ""

    def get_page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the template needs besides the title and the actions."""
        return {}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            **build_live_context(request),
            "original": row,
            **self.list_actions(request, row),
            "title": str(row),
            "opts": self.opts,
            **self.get_page_context(request, row),
        }
        return TemplateResponse(request, self.page_template, context)
