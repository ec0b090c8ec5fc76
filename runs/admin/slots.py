"""Slots as places: who is on them, drained, quarantined."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from runs.leasing import maintenance
from runs.leasing.cleanup import take_back
from slots.models import Lease, Slot
from slots.rules import ON_SLOT, SlotState, slot_state
from web.admin_actions import Done, Reason, Rows, Verb
from web.permissions import OPERATE, actor

STATE_COLOURS = {
    SlotState.FREE: "success",
    SlotState.LEASED: "primary",
    SlotState.CLEANING: "warning",
    SlotState.DRAINED: "default",
    SlotState.QUARANTINED: "danger",
}
Given = Mapping[str, Any]


def _drain(request: HttpRequest, slot: Slot, given: Given) -> Done:
    is_new = maintenance.drain(slot, reason=given["reason"], actor=actor(request))
    return Done(f"{slot} is drained." if is_new else f"{slot} was drained already.")


def _undrain(request: HttpRequest, slot: Slot, given: Given) -> Done:
    maintenance.undrain(slot, actor=actor(request))
    return Done(f"{slot} is granted again.")


def _quarantine(request: HttpRequest, slot: Slot, given: Given) -> Done:
    maintenance.quarantine(slot, reason=given["reason"], actor=actor(request))
    return Done(f"{slot} is quarantined.")


def _unquarantine(request: HttpRequest, slot: Slot, given: Given) -> Done:
    take_back(settings.OROBOROS, slot, actor=actor(request))
    return Done(f"{slot} is clean and handed out again.")


VERBS = (
    Verb(
        "drain",
        "Drain",
        OPERATE,
        "Whoever holds the slot keeps it; nobody gets it after them.",
        _drain,
        Reason,
        fits=lambda slot: slot.drained_at is None,
    ),
    Verb(
        "undrain",
        "Undrain",
        OPERATE,
        "The slot is granted again, to the next in line at once.",
        _undrain,
        fits=lambda slot: slot.drained_at is not None,
    ),
    Verb(
        "quarantine",
        "Quarantine",
        OPERATE,
        "The slot is not handed out until somebody has looked at it and lifts this.",
        _quarantine,
        Reason,
        is_grave=True,
        fits=lambda slot: slot.quarantined_at is None,
    ),
    Verb(
        "unquarantine",
        "Lift quarantine",
        OPERATE,
        "You have looked at what could not be cleaned; the slot is handed out again.",
        _unquarantine,
        fits=lambda slot: slot.quarantined_at is not None,
    ),
)


@admin.register(Slot)
class SlotAdmin(Rows):
    list_display = ["slot_id", "state", "holder", "since", "until", "reason", "fence"]
    fields = ["slot_id", "host", "fence", "state_text", "holder", "since", "until", "reason"]
    readonly_fields = ["state_text", "holder", "since", "until", "reason"]
    verbs = VERBS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Slot]:
        leases = Lease.objects.filter(state__in=ON_SLOT).select_related("run")
        return Slot.objects.prefetch_related(Prefetch("leases", leases, to_attr="now"))

    @display(description="State", label=STATE_COLOURS)
    def state(self, slot):
        lease = _lease(slot)
        state = slot_state(
            lease.state if lease else None,
            is_quarantined=slot.quarantined_at is not None,
            is_drained=slot.drained_at is not None,
        )
        return state, state.label

    @display(description="State")
    def state_text(self, slot):
        return self.state(slot)[1]

    @display(description="Held by")
    def holder(self, slot):
        lease = _lease(slot)
        if lease is None:
            return "–"
        url = reverse("admin:runs_run_change", args=[lease.run_id])
        return format_html('<a href="{}">{}</a> ({})', url, lease.run.title, lease.run.created_by)

    @display(description="Since")
    def since(self, slot):
        lease = _lease(slot)
        return f"{lease.granted_at:%Y-%m-%d %H:%M}" if lease else "–"

    @display(description="Until")
    def until(self, slot):
        lease = _lease(slot)
        if lease is None:
            return "–"
        return "held open" if lease.is_pinned else f"{lease.expires_at:%Y-%m-%d %H:%M}"

    @display(description="Why")
    def reason(self, slot):
        return slot.quarantine_reason or slot.drain_reason or "–"


def _lease(slot):
    return slot.now[0] if slot.now else None
