"""The admin's page of leases, read-only: which run held which slot, when, and why it ended."""

from django.contrib import admin
from unfold.decorators import display

from slots.models import Lease
from slots.rules import LeaseState
from web.admin_actions import ReadOnlyAdmin

STATE_COLOURS = {
    LeaseState.WAITING: "default",
    LeaseState.HELD: "primary",
    LeaseState.ENDING: "warning",
    LeaseState.ENDED: "success",
}


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = [
        "id",
        "state_label",
        "slot",
        "run",
        "fence",
        "requested_at",
        "granted_at",
        "ended_at",
        "end_reason_label",
    ]
    list_filter = ["state", "slot"]
    list_select_related = ["slot", "run"]
    ordering = ["-id"]
    search_fields = ["run__title", "run__id"]

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_label(self, lease):
        return lease.state, lease.get_state_display()

    @display(description="Reason of its end")
    def end_reason_label(self, lease):
        return lease.end_reason or "–"
