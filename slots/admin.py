"""The admin's page of leases, read-only: which run held which slot, when, and why it ended."""

from django.contrib import admin
from unfold.decorators import display

from slots.models import Lease
from web.admin_actions import ReadOnlyAdmin
from web.templatetags.presentation import CHIP_TYPES


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

    @display(description="State", ordering="state", label=CHIP_TYPES)
    def state_label(self, lease):
        return lease.state, lease.get_state_display()

    @display(description="Reason of its end")
    def end_reason_label(self, lease):
        return lease.end_reason or "–"
