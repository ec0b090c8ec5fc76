"""The admin pages of releases and deployments, and the action that rolls back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from core.clock import format_minute
from host.files import safe_files
from releases.deployments import enqueue, rollback_plan
from releases.models import Deployment, Release, ReleaseQuerySet
from releases.presenters import list_logs, list_processes
from releases.production.deployment_context import deployment_log_path
from releases.rules import ReleaseStatus
from web.admin_actions import (
    ActionResult,
    AdminAction,
    DetailPageAdmin,
    ReadOnlyAdmin,
    ReasonForm,
    offer_if,
)
from web.logs.admin_page import ProcessLogsAdmin, describe_page_logs
from web.permissions import ALLOWED, OPERATE, ActionState, get_actor_name, has_ability
from web.templatetags.presentation import CHIP_TYPES, ago

LOG_LINES = 200
DEPLOYMENT_LIMIT = 50


class RollbackForm(ReasonForm):
    """The reason, and whether irreversible schema changes are accepted."""

    accept_schema = forms.BooleanField(
        required=False,
        label="Roll back although production's schema keeps its changes",
        help_text="Needed only if a later migration dropped or narrowed something.",
    )


def _describe_deployment(deployment: Deployment) -> tuple[str, str, str]:
    """Return the URL of its page, its name, and how it ended, by whom and why."""
    started = format_minute(deployment.started_at)
    return (
        reverse("admin:releases_deployment_change", args=[deployment.pk]),
        f"{deployment.kind} {deployment.number}",
        f"{deployment.outcome}, {started} by {deployment.actor}: {deployment.reason}",
    )


def _start_rollback(
    request: HttpRequest, release: Release, fields: Mapping[str, Any]
) -> ActionResult:
    deployment = enqueue.enqueue_rollback(
        settings.OROBOROS,
        release.pk,
        actor=get_actor_name(request),
        reason=fields["reason"],
        accept_schema=fields["accept_schema"],
    )
    url = reverse("admin:releases_deployment_change", args=[deployment.pk])
    return ActionResult(f"You started the rollback to {release}.", url)


def _decide_rollback(request: HttpRequest, release: Release) -> ActionState:
    if release.status == ReleaseStatus.LIVE:
        return offer_if(False, f"{release} is live already.")
    if not release.was_healthy or release.removed_at is not None:
        return offer_if(False, f"{release} was never healthy, or its build was removed.")
    running = Deployment.objects.running().first()
    return ALLOWED if running is None else ActionState(False, f"{running} is under way: wait.")


def _get_rollback_details(request: HttpRequest, release: Release) -> dict[str, Any]:
    """Return the plan; what accepts schema changes is offered only where there are some."""
    plan = rollback_plan.make_rollback_plan(settings.OROBOROS, release)
    return {"plan": plan, "omitted_fields": [] if plan.irreversible else ["accept_schema"]}


ROLLBACK = AdminAction(
    "rollback",
    "Roll back to this",
    OPERATE,
    "This release is started, probed and made live again. The live release is retired.",
    _start_rollback,
    RollbackForm,
    is_dangerous=True,
    decide=_decide_rollback,
    details_template="oroboros/rollback_plan.html",
    get_details=_get_rollback_details,
)


def compare_url(old: str, new: str) -> str:
    """Return the address of what changes from one release to another."""
    query = urlencode({"from": old, "to": new})
    return f"{reverse('admin-release-comparison')}?{query}"


def compare_selected(
    model_admin: ReadOnlyAdmin, request: HttpRequest, rows: ReleaseQuerySet
) -> HttpResponse | None:
    """Lead to the comparison of the two selected releases, from the older one to the newer."""
    pair = [row.pk for row in rows.order_by("pk")]
    if len(pair) != 2:
        messages.error(request, "Select two releases to compare them.")
        return None
    return redirect(compare_url(*pair))


@admin.register(Release)
class ReleaseAdmin(ProcessLogsAdmin):
    list_display = [
        "titled",
        "state",
        "release_id",
        "commit",
        "run",
        "built",
        "activated",
        "migration_count",
    ]
    list_filter = ["status"]
    search_fields = ["title", "release_id", "commit_sha"]
    fields = [
        "title",
        "release_id",
        "status",
        "detail",
        "commit_sha",
        "run",
        "built_at",
        "activated_at",
        "healthy_at",
        "removed_at",
        "migration_list",
        "schema_change_list",
        "restore_command",
        "process_list",
        "deployment_list",
        "comparison",
    ]
    readonly_fields = [
        "run",
        "migration_list",
        "schema_change_list",
        "process_list",
        "deployment_list",
        "comparison",
    ]
    page_actions = (ROLLBACK,)
    process_logs_note = "Older lines may be of releases that ran in the same place."

    def list_process_logs(self, request: HttpRequest, row: Release) -> list[dict[str, Any]]:
        if not has_ability(request, OPERATE):
            return []
        return describe_page_logs(
            list_logs(settings.OROBOROS, row),
            source="production",
            make_url=lambda name: reverse("api-release-log", args=[row.pk, name]),
        )

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions on selected rows: the comparison of two changes nothing."""
        compare = (compare_selected, "compare", "Compare two")
        return {**super().get_actions(request), "compare": compare}

    def get_queryset(self, request: HttpRequest) -> ReleaseQuerySet:
        return super().get_queryset(request).filter(is_temporary=False)

    @display(description="Title", ordering="title")
    def titled(self, release):
        return release.title or release.commit_sha[:12]

    @display(description="Status", ordering="status", label=CHIP_TYPES)
    def state(self, release):
        return release.status, release.get_status_display()

    @display(description="Built", ordering="built_at")
    def built(self, release):
        return ago(release.built_at) or "–"

    @display(description="Activated", ordering="activated_at")
    def activated(self, release):
        return ago(release.activated_at) or "–"

    @display(description="Commit")
    def commit(self, release):
        return release.commit_sha[:12]

    @display(description="Run")
    def run(self, release):
        if release.run_id is None:
            return "–"
        url = reverse("admin:runs_run_change", args=[release.run_id])
        return format_html('<a href="{}">{}</a>', url, str(release.run_id)[:8])

    @display(description="Migrations")
    def migration_count(self, release):
        return len(release.migrations) or "–"

    @display(description="Migrations")
    def migration_list(self, release):
        return "\n".join(release.migrations) or "none"

    @display(description="Schema changes")
    def schema_change_list(self, release):
        changes = (change["text"] for change in release.schema_changes)
        return "\n".join(changes) or "nothing"

    @display(description="Processes")
    def process_list(self, release):
        rows = (
            (one["name"], one["state"], f", restarted {one['restarts']} times")
            if one["restarts"]
            else (one["name"], one["state"], "")
            for one in list_processes(settings.OROBOROS, release)
        )
        return format_html_join("\n", "<code>{}</code> {}{}", rows) or "–"

    @display(description="Deployments")
    def deployment_list(self, release):
        """List the release's deployments, the newest first, with links to their pages."""
        lines = map(_describe_deployment, release.deployments.all()[:DEPLOYMENT_LIMIT])
        return format_html_join("\n", '<a href="{}">{}</a> {}', lines) or "none"

    @display(description="Compare")
    def comparison(self, release):
        """Link to the comparisons with the release before, and with the live one."""
        first = release.deployments.exclude(previous=None).order_by("number").first()
        live = Release.objects.live()
        links = []
        if first is not None:
            links.append((compare_url(first.previous_id, release.pk), "With the release before"))
        if live is not None and live != release:
            links.append((compare_url(live.pk, release.pk), "With the live release"))
        return format_html_join("\n", '<a href="{}">{}</a>', links) or "–"


@admin.register(Deployment)
class DeploymentAdmin(DetailPageAdmin):
    page_template = "oroboros/deployment.html"
    list_display = [
        "number",
        "kind",
        "state",
        "release",
        "previous",
        "actor",
        "reason",
        "started",
        "duration",
    ]
    list_filter = ["outcome", "kind"]
    list_select_related = ["release", "previous"]

    def get_page_context(self, request: HttpRequest, row: Deployment) -> dict[str, Any]:
        """Return the deployment and the end of its log; the page reloads while it runs."""
        return {
            "deployment": row,
            "log": safe_files.read_tail(deployment_log_path(settings.OROBOROS, row), LOG_LINES),
            "title": str(row).capitalize(),
        }

    @display(description="Outcome", ordering="outcome", label=CHIP_TYPES)
    def state(self, deployment):
        return deployment.outcome, deployment.get_outcome_display()

    @display(description="Started", ordering="started_at")
    def started(self, deployment):
        return ago(deployment.started_at)

    @display(description="Duration")
    def duration(self, deployment):
        return "–" if deployment.seconds is None else f"{deployment.seconds:.1f} s"
