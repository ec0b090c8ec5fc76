"""Slots: the run that holds each, and draining and quarantine."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from host.errors import Refused
from runs.leasing import maintenance
from runs.leasing.cleanup import return_to_service
from runs.leasing.queue_status import build_status, describe_withdrawal
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, SlotState
from slots.runtime import backend_log
from web.admin_actions import (
    ActionResult,
    AdminAction,
    ReadOnlyAdmin,
    ReasonForm,
    offer_if,
)
from web.logs.listing import describe_logs
from web.permissions import OPERATE, get_actor_name
from web.templatetags.presentation import moment, render_chip

FormData = Mapping[str, Any]


def _drain(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    is_new = maintenance.drain(slot, reason=data["reason"], actor=get_actor_name(request))
    return ActionResult(f"You drained {slot}." if is_new else f"{slot} was already drained.")


def _undrain(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    maintenance.undrain(slot, actor=get_actor_name(request))
    return ActionResult(f"You returned {slot} to service.")


def _quarantine(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    maintenance.quarantine(slot, reason=data["reason"], actor=get_actor_name(request))
    return ActionResult(f"You quarantined {slot}.")


def _unquarantine(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    return_to_service(settings.OROBOROS, slot, actor=get_actor_name(request))
    return ActionResult(f"{slot} was cleaned and returned to service.")


ACTIONS = (
    AdminAction(
        "drain",
        "Drain",
        OPERATE,
        "The run that holds the slot keeps it until its lease ends. The slot is not granted again.",
        _drain,
        ReasonForm,
        is_bulk=True,
        decide=lambda request, slot: offer_if(
            slot.drained_at is None, f"{slot} is drained already."
        ),
    ),
    AdminAction(
        "undrain",
        "Undrain",
        OPERATE,
        "The slot is granted again, first to the next waiting run.",
        _undrain,
        is_bulk=True,
        decide=lambda request, slot: offer_if(
            slot.drained_at is not None, f"{slot} is not drained."
        ),
    ),
    AdminAction(
        "quarantine",
        "Quarantine",
        OPERATE,
        "The slot is not granted until an operator has examined it and lifts the quarantine.",
        _quarantine,
        ReasonForm,
        is_dangerous=True,
        decide=lambda request, slot: offer_if(
            slot.quarantined_at is None or slot.is_being_cleaned,
            f"{slot} is quarantined already.",
        ),
    ),
    AdminAction(
        "unquarantine",
        "Lift quarantine",
        OPERATE,
        "The slot is cleaned once more and granted again. If something is left, this is refused.",
        _unquarantine,
        decide=lambda request, slot: offer_if(
            slot.quarantined_at is not None, f"{slot} is not quarantined."
        ),
    ),
)


@admin.register(Slot)
class SlotAdmin(ReadOnlyAdmin):
    list_display = ["slot_id", "state", "holder", "since", "until", "reason", "fence"]
    fields = ["slot_id", "host", "fence", "state", "holder", "since", "until", "reason"]
    readonly_fields = ["state", "holder", "since", "until", "reason"]
    page_actions = ACTIONS
    change_form_outer_after_template = "oroboros/process_logs.html"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        slot = self.get_object(request, unquote(object_id))
        context = {
            "process_logs": _list_logs(slot) if slot else [],
            "process_logs_note": "Of the run that holds the slot, or held it last.",
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, context)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Slot]:
        leases = Lease.objects.filter(state__in=STATES_WITH_SLOT).select_related("run")
        ours = Slot.objects.on_host(settings.OROBOROS.host_name)
        return ours.prefetch_related(Prefetch("leases", leases, to_attr="now"))

    @display(description="State")
    def state(self, slot):
        status = build_status(slot, _lease(slot))
        chips = [render_chip(status.state, status.state.label)]
        if status.is_draining:
            chips.append(render_chip(SlotState.DRAINED, "Draining"))
        return format_html_join(" ", "{}", ((chip,) for chip in chips))

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
        return moment(lease.granted_at) if lease else "–"

    @display(description="Until")
    def until(self, slot):
        lease = _lease(slot)
        if lease is None:
            return "–"
        return "no expiry" if lease.is_pinned else moment(lease.expires_at)

    @display(description="Reason")
    def reason(self, slot):
        return describe_withdrawal(slot) or "–"


def _list_logs(slot: Slot) -> list[dict[str, Any]]:
    """Return the logs of the slot's processes for the page, each with the address of its text."""
    config = settings.OROBOROS
    try:
        logs = backend_log.list_logs(config, config.slot(slot.slot_id))
    except Refused:  # it is not configured any more
        return []
    return [
        {
            **log,
            "url": reverse("api-slot-log", args=[slot.slot_id, log["name"]]),
            "filename": f"{slot.slot_id}-{log['name']}",
            "is_running": not log["name"].startswith("previous:"),
        }
        for log in describe_logs(logs)
    ]


def _lease(slot):
    return slot.now[0] if slot.now else None
