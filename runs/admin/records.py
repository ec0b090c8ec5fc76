"""What was told and decided: events and freezes; and what is not for the admin at all."""

from django.contrib import admin
from django_q import admin as queue  # registers its models, which are ours to hide

from runs.models import Event, Freeze
from web.admin_actions import Rows
from web.templatetags.presentation import first_line

# The queue is a doorbell and its schedules are ours: nothing of it is edited by hand.
for model in (queue.Success, queue.Failure, queue.Schedule, queue.OrmQ):
    if admin.site.is_registered(model):
        admin.site.unregister(model)


@admin.register(Event)
class EventAdmin(Rows):
    list_display = ["at", "actor", "kind", "line", "run", "slot_id"]
    list_filter = ["kind"]
    list_select_related = ["run"]
    search_fields = ["text", "actor"]

    @admin.display(description="Text")
    def line(self, event):
        return first_line(event.text)


@admin.register(Freeze)
class FreezeAdmin(Rows):
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
