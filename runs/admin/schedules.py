"""The schedules of the queue, read-only: what runs periodically, when it ran, and its result."""

from django.contrib import admin
from django.db.models import Exists, OuterRef, Subquery, Value
from django.db.models.functions import Concat
from django_q.models import Schedule

from runs.lifecycle import schedules
from runs.models import Heartbeat
from web.admin_actions import ReadOnlyAdmin


def _select_heartbeat(prefix: str):
    """Return the heartbeat rows named `prefix:<name of the outer schedule>`."""
    return Heartbeat.objects.filter(name=Concat(Value(f"{prefix}:"), OuterRef("name")))


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    """`sync_schedules` writes the rows, so people cannot edit them here."""

    list_display = ["name", "function", "every", "last_run", "next_run", "last_result", "run_by"]
    # Of django-q2's fields only these apply to our schedules.
    fields = readonly_fields = list_display
    list_display_links = ["name"]

    def get_queryset(self, request):
        last_run = _select_heartbeat("schedule")
        rows = super().get_queryset(request).filter(func=schedules.FUNCTION)
        return rows.order_by("pk").annotate(
            last_run_at=Subquery(last_run.values("at")),
            last_run_detail=Subquery(last_run.values("detail")),
            is_overdue=Exists(_select_heartbeat("overdue")),
        )

    @admin.display(description="Function")
    def function(self, schedule):
        return f"{schedule.func}{schedule.args or ''}"

    @admin.display(description="Every")
    def every(self, schedule):
        return f"{schedule.minutes} min"

    @admin.display(description="Last run")
    def last_run(self, schedule):
        return schedule.last_run_at

    @admin.display(description="Last result")
    def last_result(self, schedule):
        return schedule.last_run_detail

    @admin.display(description="Run by")
    def run_by(self, schedule):
        return "supervisor: overdue" if schedule.is_overdue else "queue"
