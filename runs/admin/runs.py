"""Runs: the list, and the page that each of them has."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from runs import presenters
from runs.admin import run_actions, run_page
from runs.models import Run
from runs.rules import SHIPPING, Status
from web.admin_actions import Pages
from web.permissions import OPERATE, may

STATUS_COLOURS = {
    Status.QUEUED: "default",
    Status.HOLDING: "info",
    Status.PREPARING: "info",
    Status.PREVIEW_READY: "primary",
    **dict.fromkeys(SHIPPING, "warning"),
    Status.MERGED: "success",
    Status.FAILED: "danger",
    Status.REJECTED: "danger",
}


@admin.register(Run)
class RunAdmin(Pages):
    page_template = "oroboros/run.html"
    list_display = [
        "title",
        "state",
        "source",
        "commit",
        "slot",
        "created_by",
        "created_at",
        "left",
    ]
    list_filter = ["status"]
    search_fields = ["title", "branch", "commit_sha", "id"]
    search_help_text = "Title, branch, commit or id"
    run_actions = run_actions.VERBS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        return presenters.runs()

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Run | None:
        try:
            return self.get_queryset(request).filter(pk=object_id).first()
        except ValidationError:  # no UUID at all
            return None

    def facts(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        """Show the run; `?live` is the page asking for itself again."""
        is_live = "live" in request.GET
        changes = {} if is_live else run_actions.changes(row)
        return {
            **run_page.context(row, is_live=is_live),
            **changes,
            "patch": run_page.patch(changes["difference"]) if "difference" in changes else [],
            "may_operate": may(request, OPERATE),
        }

    @display(description="Status", ordering="status", label=STATUS_COLOURS)
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
        slot, lease = presenters.slot(run), presenters.lease(run)
        if slot is not None:
            return slot.slot_id
        return "in line" if lease is not None else "–"

    @display(description="Time left")
    def left(self, run):
        seconds = presenters.seconds_left(run)
        return "–" if seconds is None else f"{seconds // 3600} h {seconds % 3600 // 60:02} min"
