"""Slots: the run that holds each, and draining and quarantine."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from core.clock import format_minute
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
    ReasonForm,
    offer_if,
)
from web.logs.admin_page import ProcessLogsAdmin, describe_page_logs
from web.permissions import OPERATE, get_actor_name
from web.templatetags.presentation import moment, render_chip

FormData = Mapping[str, Any]
LISTED_LEASES = 20


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
class SlotAdmin(ProcessLogsAdmin):
    list_display = ["slot_id", "state", "holder", "since", "until", "reason", "fence"]
    fields = [
        "slot_id",
        "host",
        "fence",
        "state",
        "holder",
        "since",
        "until",
        "reason",
        "lease_list",
    ]
    readonly_fields = ["state", "holder", "since", "until", "reason", "lease_list"]
    page_actions = ACTIONS
    process_logs_note = "Of the run that holds the slot, or held it last."

    def list_process_logs(self, request: HttpRequest, row: Slot) -> list[dict[str, Any]]:
        config = settings.OROBOROS
        try:
            logs = backend_log.list_logs(config, config.slot(row.slot_id))
        except Refused:  # it is not configured any more
            return []
        return describe_page_logs(
            logs,
            source=row.slot_id,
            make_url=lambda name: reverse("api-slot-log", args=[row.slot_id, name]),
            is_running=lambda name: not name.startswith("previous:"),
        )

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

    @display(description="Last leases")
    def lease_list(self, slot):
        """List the leases of the slot, the newest first: run, times, restarts, end."""
        leases = slot.leases.exclude(granted_at=None).select_related("run")
        lines = map(_describe_lease, leases.order_by("-fence")[:LISTED_LEASES])
        return format_html_join("\n", '<a href="{}">{}</a> ({}) {}{}', lines) or "none"


def _describe_lease(lease: Lease) -> tuple[str, ...]:
    """Return the run's address, title and creator, the times, and the restarts with the end."""
    times = " – ".join(
        format_minute(at) if at is not None else "now" for at in (lease.granted_at, lease.ended_at)
    )
    restarts = [
        f"{name} {count} time{pluralize(count)}"
        for name, count in sorted(lease.process_restarts.items())
    ]
    rest = f"; restarted {', '.join(restarts)}" if restarts else ""
    rest += f"; {lease.end_reason}" if lease.end_reason else ""
    url = reverse("admin:runs_run_change", args=[lease.run_id])
    return url, lease.run.title, lease.run.created_by, times, rest


def _lease(slot):
    return slot.now[0] if slot.now else None
