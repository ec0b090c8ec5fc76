"""Releases, the switches to them, and the way back."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from host.files import safe_files
from releases.deployments import enqueue, rollback_plan
from releases.deployments.switch import default_log
from releases.models import Activation, Release
from releases.rules import ActivationOutcome, ReleaseStatus
from web.admin_actions import Done, Pages, Reason, Rows, Verb
from web.permissions import OPERATE, actor

LOG_LINES = 200
SWITCHES = 50
STATUS_COLOURS = {
    ReleaseStatus.BUILDING: "info",
    ReleaseStatus.BUILT: "info",
    ReleaseStatus.LIVE: "success",
    ReleaseStatus.RETIRED: "default",
    ReleaseStatus.FAILED: "danger",
    ReleaseStatus.STUCK: "danger",
}
OUTCOME_COLOURS = {
    ActivationOutcome.RUNNING: "info",
    ActivationOutcome.SUCCEEDED: "success",
    ActivationOutcome.FAILED: "danger",
    ActivationOutcome.RESTORED: "warning",
    ActivationOutcome.STUCK: "danger",
}


class RollingBack(Reason):
    """Why, and whether the schema that stays behind is accepted."""

    accept_schema = forms.BooleanField(
        required=False,
        label="Go back although production's schema stays as it is now",
        help_text="Needed only where a migration between the two dropped or narrowed something.",
    )


def _rollback(request: HttpRequest, release: Release, given: Mapping[str, Any]) -> Done:
    activation = enqueue.request_rollback(
        settings.OROBOROS,
        release.pk,
        actor=actor(request),
        reason=given["reason"],
        accept_schema=given["accept_schema"],
    )
    url = reverse("admin:releases_activation_change", args=[activation.pk])
    return Done(f"{release} is being made live again.", url)


def _can_go_back(release: Release) -> bool:
    return (
        release.status != ReleaseStatus.LIVE and release.was_healthy and release.removed_at is None
    )


ROLLBACK = Verb(
    "rollback",
    "Roll back to this",
    OPERATE,
    "This release is started, probed and made live again; what is live now is left behind.",
    _rollback,
    RollingBack,
    is_grave=True,
    fits=_can_go_back,
    about="oroboros/about_rollback.html",
    facts=lambda release: {"way": rollback_plan.preview(settings.OROBOROS, release)},
)


@admin.register(Release)
class ReleaseAdmin(Rows):
    list_display = ["release_id", "state", "commit", "run", "built_at", "activated_at", "migrated"]
    list_filter = ["status"]
    search_fields = ["release_id", "commit_sha"]
    fields = [
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
        "schema_list",
        "restore_command",
        "switches",
    ]
    readonly_fields = ["run", "migration_list", "schema_list", "switches"]
    verbs = (ROLLBACK,)

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
    def state(self, release):
        return release.status, release.get_status_display()

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
    def migrated(self, release):
        return len(release.migrations) or "–"

    @display(description="Migrations")
    def migration_list(self, release):
        return "\n".join(release.migrations) or "none"

    @display(description="What they changed in the schema")
    def schema_list(self, release):
        changes = (f"{one['kind']}: {one['text']}" for one in release.schema_changes)
        return "\n".join(changes) or "nothing"

    @display(description="Activations")
    def switches(self, release):
        """Each switch to the release, the newest first: who, when, how it ended."""
        lines = (
            (
                reverse("admin:releases_activation_change", args=[one.pk]),
                f"{one.kind} {one.number}",
                f"{one.outcome}, {one.started_at:%Y-%m-%d %H:%M} by {one.actor}: {one.reason}",
            )
            for one in release.activations.all()[:SWITCHES]
        )
        return format_html_join("\n", '<a href="{}">{}</a> {}', lines) or "none"


@admin.register(Activation)
class ActivationAdmin(Pages):
    page_template = "oroboros/activation.html"
    list_display = [
        "number",
        "kind",
        "state",
        "release",
        "previous",
        "actor",
        "reason",
        "started_at",
        "took",
    ]
    list_filter = ["outcome", "kind"]
    list_select_related = ["release", "previous"]

    def facts(self, request: HttpRequest, row: Activation) -> dict[str, Any]:
        """Show how far the switch is, with the end of its log; the page asks for itself again."""
        return {
            "activation": row,
            "log": safe_files.read_tail(default_log(settings.OROBOROS, row), LOG_LINES),
            "title": str(row).capitalize(),
        }

    @display(description="Outcome", ordering="outcome", label=OUTCOME_COLOURS)
    def state(self, activation):
        return activation.outcome, activation.get_outcome_display()

    @display(description="Took")
    def took(self, activation):
        return "–" if activation.seconds is None else f"{activation.seconds:.1f} s"
