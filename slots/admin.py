"""Leases as they were: who held what, from when to when, and why it ended."""

from django.contrib import admin
from unfold.decorators import display

from oroboros.desk import Rows
from slots.models import Lease
from slots.rules import LeaseState

STATE_COLOURS = {
    LeaseState.WAITING: "default",
    LeaseState.HELD: "primary",
    LeaseState.ENDING: "warning",
    LeaseState.ENDED: "success",
}


@admin.register(Lease)
class LeaseAdmin(Rows):
    list_display = ["id", "state_shown", "slot", "run", "fence", "asked", "granted", "ended", "why"]
    list_filter = ["state", "slot"]
    list_select_related = ["slot", "run"]
    ordering = ["-id"]
    search_fields = ["run__title", "run__id"]

    @display(description="State", ordering="state", label=STATE_COLOURS)
    def state_shown(self, lease):
        return lease.state, lease.get_state_display()

    @display(description="Asked", ordering="asked_at")
    def asked(self, lease):
        return _when(lease.asked_at)

    @display(description="Granted", ordering="granted_at")
    def granted(self, lease):
        return _when(lease.granted_at)

    @display(description="Ended", ordering="ended_at")
    def ended(self, lease):
        return _when(lease.ended_at)

    @display(description="Why it ended")
    def why(self, lease):
        return lease.end_reason or "–"


def _when(at):
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else "–"
