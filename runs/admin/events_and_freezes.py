"""Events and freezes, read-only; the task queue's own tables are hidden."""

from django.contrib import admin
from django_q import admin as queue  # importing it registers its models

from runs.admin.run_filters import EventKindFilter
from runs.models import Event, Freeze
from web.admin_actions import ReadOnlyAdmin
from web.templatetags.presentation import first_line

# A task only names a run; what happened to the run is in its journal. Editing tasks by hand would
# start work that no run waits for.
for model in (queue.Success, queue.Failure, queue.Schedule, queue.OrmQ):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["at", "actor", "kind", "summary", "run", "slot_id"]
    list_filter = [EventKindFilter]
    list_select_related = ["run"]
    search_fields = ["text", "actor"]

    @admin.display(description="Text")
    def summary(self, event):
        return first_line(event.text)


@admin.register(Freeze)
class FreezeAdmin(ReadOnlyAdmin):
    list_display = [
        "reason",
        "run",
        "actor",
        "since",
        "until",
        "lifted_at",
        "lifted_by",
        "lift_reason",
    ]
    list_select_related = ["run"]
