"""What the pages of the admin share: rows that nobody types, and verbs that ask first.

A verb has a page of its own: GET says what it would do and asks, POST does it. So every button is
a link that changes nothing, and works without a script.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from unfold.admin import ModelAdmin

from host.errors import Refused
from web.permissions import VIEW, may


@dataclass(frozen=True)
class Done:
    """What a verb did, in a sentence, and where to go now (default: the row's page)."""

    text: str
    url: str = ""


@dataclass(frozen=True)
class Verb:
    """Something people do to a row, or with `on_row=False` to all of its kind."""

    name: str
    label: str
    ability: str
    text: str
    act: Callable[[HttpRequest, Any, Mapping[str, Any]], Done]
    form: type[forms.Form] = forms.Form
    is_main: bool = False
    is_grave: bool = False
    on_row: bool = True
    fits: Callable[[Any], bool] = lambda row: True
    # What to look at before deciding: a template, and what it is given. `left_out` among the facts
    # names the fields of the form that are not asked for this row.
    about: str = ""
    facts: Callable[[Any], Mapping[str, Any]] = lambda row: {}
    # What the page that links here showed, such as the commit; it comes back with the form.
    shown: Callable[[Any], Mapping[str, str]] = lambda row: {}


class Reason(forms.Form):
    """A reason that people will read."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}), max_length=2000, label="Reason"
    )


class MaybeReason(forms.Form):
    """A reason, if there is one."""

    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3}),
        max_length=2000,
        required=False,
        label="Reason (may be left out)",
    )


class Rows(ModelAdmin):
    """Rows that a machine makes: looked at, and changed by verbs only."""

    actions = None
    list_per_page = 50
    show_full_result_count = False
    list_disable_select_all = True
    verbs: tuple[Verb, ...] = ()
    change_list_template = "oroboros/list.html"
    change_form_outer_before_template = "oroboros/offers.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request, VIEW)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return may(request, VIEW)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_urls(self) -> list[Any]:
        own = []
        for verb in self.verbs:
            view = self.admin_site.admin_view(self._view_of(verb))
            address = f"<path:object_id>/{verb.name}/" if verb.on_row else f"{verb.name}/"
            own.append(path(address, view, name=self._name_of(verb)))
        return [*own, *super().get_urls()]

    def _name_of(self, verb: Verb) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{verb.name}"

    def _view_of(self, verb: Verb) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: str = "") -> HttpResponse:
            return self.ask(request, verb, object_id)

        return view

    def row_url(self, row: Model) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[row.pk])

    def verb_url(self, verb: Verb, row: Model | None = None) -> str:
        url = reverse(f"admin:{self._name_of(verb)}", args=[] if row is None else [row.pk])
        shown = {} if row is None else verb.shown(row)
        return f"{url}?{urlencode(shown)}" if shown else url

    def offers(self, request: HttpRequest, row: Model) -> list[dict[str, Any]]:
        """Return the buttons that fit the row and that who asks may press."""
        return [
            {"verb": verb, "url": self.verb_url(verb, row)}
            for verb in self.verbs
            if verb.on_row and may(request, verb.ability) and verb.fits(row)
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        offers = [
            {"verb": verb, "url": self.verb_url(verb)}
            for verb in self.verbs
            if not verb.on_row and may(request, verb.ability)
        ]
        return super().changelist_view(request, {"offers": offers, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        offers = self.offers(request, row) if row else []
        context = {"offers": offers, "show_save": False, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    def ask(self, request: HttpRequest, verb: Verb, object_id: str) -> HttpResponse:
        """Show what the verb would do and ask; on POST do it, or show why it was refused."""
        if not may(request, verb.ability):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id)) if verb.on_row else None
        if verb.on_row and row is None:
            raise Http404
        given = request.POST if request.method == "POST" else None
        form = verb.form(given, initial=request.GET, label_suffix="")
        status = 200
        if request.method == "POST" and form.is_valid():
            try:
                done = verb.act(request, row, form.cleaned_data)
            except Refused as no:
                form.add_error(None, no.detail)
                status = no.status
            else:
                messages.success(request, done.text)
                return redirect(done.url or (self.row_url(row) if row else "admin:index"))
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label if row is None else f"{verb.label}: {row}",
            "verb": verb,
            "form": form,
            "row": row,
            "opts": self.opts,
            "back": self.row_url(row) if row else reverse("admin:index"),
            "left_out": [],
            **verb.facts(row),
        }
        return TemplateResponse(request, "oroboros/ask.html", context, status=status)


class Pages(Rows):
    """Rows with a page of their own, at `page_template`, in place of Django's form."""

    page_template = ""

    def facts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page shows of the row besides its title and its buttons."""
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
            "offers": self.offers(request, row),
            "title": str(row),
            "opts": self.opts,
            **self.facts(request, row),
        }
        return TemplateResponse(request, self.page_template, context)
