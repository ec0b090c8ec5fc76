"""Leases as they were: who held what, from when to when, and why it ended."""

from django.contrib import admin
from unfold.decorators import display

from slots.models import Lease
from slots.rules import LeaseState
from web.admin_actions import Rows

STATE_COLOURS = {
    LeaseState.WAITING: "default",
    LeaseState.HELD: "primary",
    LeaseState.ENDING: "warning",
    LeaseState.ENDED: "success",
}


@admin.register(Lease)
class LeaseAdmin(Rows):
    list_display = [
        "id",
        "state_shown",
        "slot",
        "run",
        "fence",
        "asked_at",
        "granted_at",
        "ended_at",
        "why",
    ]
    list_filter = ["state", "slot"]
    list_select_related = ["slot", "run"]
    ordering = ["-id"]
    search_fields = ["run__title", "run__id"]

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_shown(self, lease):
        return lease.state, lease.get_state_display()

    @display(description="Why it ended")
    def why(self, lease):
        return lease.end_reason or "–"
