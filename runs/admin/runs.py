"""The list of runs, and the page of one run."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from unfold.decorators import display

from host.durations import format_duration
from runs import presenters
from runs.admin import comments, mails, run_actions, run_filters, run_page, share_links
from runs.charts import page as charts
from runs.comparison.addresses import build_addresses
from runs.comparison.layout import read_layout
from runs.mail.parsing import Mail
from runs.models import Artifact, Look, Run
from web.admin_actions import DetailPageAdmin, build_live_context
from web.permissions import HOLD, OPERATE, get_actor_name, has_ability
from web.security_headers import allow_connections
from web.templatetags.presentation import CHIP_TYPES, ago

DECISIONS = ("approve", "reject")


@admin.register(Run)
class RunAdmin(DetailPageAdmin):
    page_template = "oroboros/run.html"
    list_display = [
        "title",
        "state",
        "source",
        "commit",
        "slot",
        "created_by",
        "created",
        "time_left",
    ]
    list_filter = run_filters.FILTERS
    list_filter_submit = True
    search_fields = ["title", "branch", "commit_sha", "id"]
    search_help_text = "Title, branch, commit or id"
    page_actions = (*run_actions.ACTIONS, comments.COMMENT, share_links.SHARE)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return presenters.select_runs()

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Run | None:
        try:
            return self.get_queryset(request).filter(pk=object_id).first()
        except ValidationError:  # not a UUID
            return None

    def change_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._allow_preview_check(super().change_view(*args, **kwargs))

    def action_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._allow_preview_check(super().action_view(*args, **kwargs))

    def _allow_preview_check(self, response: HttpResponse) -> HttpResponse:
        """Let preview-check.js ask the previews which run they show."""
        allow_connections(response, settings.OROBOROS.list_preview_sources())
        return response

    def list_actions(self, request: HttpRequest, row: Model | None) -> dict[str, Any]:
        """Return the actions; `decisions` are those of them that the head of a run's page has."""
        found = super().list_actions(request, row)
        sides: dict[bool, list[Any]] = {True: [], False: []}
        for item in found["available_actions"]:
            sides[item["action"].name in DECISIONS].append(item)
        return {**found, "decisions": sides[True], "available_actions": sides[False]}

    def get_page_context(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        """Return the data of the page; with `?live`, which live.js adds, without the difference."""
        is_live = "live" in request.GET
        file, since = request.GET.get("path"), request.GET.get("since", "")
        changes = {} if is_live else run_actions.get_difference(row, file, since=since)
        layout, query = read_layout(request.GET), {"since": since} if since else {}
        context = run_page.build_context(row, is_live=is_live)
        found = changes.get("difference")
        files = len(found.files) if found else None
        return {
            **context,
            "tabs": run_page.list_tabs(row, mail_count=context["mail_count"], file_count=files),
            "share_links": share_links.list_share_links(row),
            **changes,
            **comments.build_context(row, found, layout),
            **build_addresses(self.row_url(row), query, layout),
            "since": since,
            "look": None if is_live else Look.objects.find(get_actor_name(request), row.branch),
            "may_hold": has_ability(request, HOLD),
            # The lines of another difference have other numbers.
            "may_comment": has_ability(request, HOLD) and not since,
            "may_operate": has_ability(request, OPERATE),
        }

    def get_urls(self) -> list[Any]:
        mail = "<uuid:run_id>/mails/<int:pk>/"
        urls = [
            path("charts/", self.admin_site.admin_view(self.charts_view), name="runs_run_charts"),
            path(
                "<uuid:run_id>/seen/",
                self.admin_site.admin_view(self.seen_view),
                name="runs_run_seen",
            ),
            path(mail, self.admin_site.admin_view(self.mail_view), name="runs_run_mail"),
            path(
                f"{mail}html/",
                self.admin_site.admin_view(self.mail_html_view),
                name="runs_run_mail_html",
            ),
            path(
                f"{mail}attachments/<int:number>/",
                self.admin_site.admin_view(self.mail_attachment_view),
                name="runs_run_mail_attachment",
            ),
        ]
        # Ours come first: Django's last pattern, `<path:object_id>/`, matches every address.
        return [*urls, *super().get_urls()]

    def charts_view(self, request: HttpRequest) -> HttpResponse:
        """The charts; with `?live`, which charts.js adds, without the page around them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            **build_live_context(request),
            "opts": self.opts,
            **charts.build_context(),
        }
        return TemplateResponse(request, "oroboros/charts.html", context)

    def seen_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """On POST remember that the person has seen the commit that the page showed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.get_object(request, str(run_id))
        if run is None or not run.branch:
            raise Http404
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if request.POST.get("commit_sha") != run.commit_sha:
            messages.error(request, f"The run is at {run.commit_sha[:12]} now: look at it again.")
        else:
            Look.objects.record(get_actor_name(request), run.branch, run.commit_sha)
            messages.success(request, f"You marked {run.commit_sha[:12]} as seen.")
        return redirect(f"{self.row_url(run)}#changes")

    def mail_view(self, request: HttpRequest, run_id: UUID, pk: int) -> HttpResponse:
        run, artifact, mail = self._find_mail(request, run_id, pk)
        context = {
            **self.admin_site.each_context(request),
            "run": run,
            "artifact": artifact,
            "mail": mail,
            "title": mail.subject,
            # unfold's header: the run, with links to it and to the list of runs.
            "original": run,
            "opts": self.opts,
        }
        return TemplateResponse(request, "oroboros/mail.html", context)

    def mail_html_view(self, request: HttpRequest, run_id: UUID, pk: int) -> HttpResponse:
        return mails.render_html(self._find_mail(request, run_id, pk)[2])

    def mail_attachment_view(
        self, request: HttpRequest, run_id: UUID, pk: int, number: int
    ) -> HttpResponse:
        return mails.download_attachment(self._find_mail(request, run_id, pk)[2], number)

    def _find_mail(self, request: HttpRequest, run_id: UUID, pk: int) -> tuple[Run, Artifact, Mail]:
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = self.get_object(request, str(run_id))
        if run is None:
            raise Http404
        return run, *mails.find_mail(run, pk)

    @display(description="Status", ordering="status", label=CHIP_TYPES)
    def state(self, run):
        return run.status, run.get_status_display()

    @display(description="Branch", ordering="branch")
    def source(self, run):
        return run.branch or "–"

    @display(description="Commit")
    def commit(self, run):
        return run.commit_sha[:12] or "–"

    @display(description="Slot")
    def slot(self, run):
        slot, lease = presenters.get_slot(run), presenters.get_open_lease(run)
        if slot is not None:
            return slot.slot_id
        return "waiting" if lease is not None else "–"

    @display(description="Created", ordering="created_at")
    def created(self, run):
        return ago(run.created_at)

    @display(description="Time left")
    def time_left(self, run):
        seconds = presenters.get_seconds_left(run)
        return "–" if seconds is None else format_duration(seconds)
