"""Slots: the run that holds each, and draining and quarantine."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.forms import Form
from django.http import HttpRequest
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from core.clock import format_minute
from host.errors import Refused
from runs import allowed_actions, presenters
from runs.admin.forms import SlotHolderForm, build_process_field
from runs.leasing import maintenance, process_restarts, reservations
from runs.leasing.cleanup import return_to_service
from runs.leasing.queue_status import build_status, describe_withdrawal
from runs.models import Run
from runs.presenters import ProcessView
from slots.models import Lease, Slot
from slots.rules import STATES_WITH_SLOT, LeaseState, SlotState
from slots.runtime import backend_log
from web.admin_actions import (
    ActionResult,
    AdminAction,
    ReasonForm,
    offer_if,
)
from web.logs.admin_page import ProcessLogsAdmin, describe_page_logs
from web.permissions import (
    HOLD,
    OPERATE,
    ActionState,
    get_abilities,
    get_actor_name,
    get_required_owner,
)
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


def _restart(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    process_restarts.restart_processes(
        settings.OROBOROS.slot(slot.slot_id),
        data["run_id"],
        process=data["process"],
        reason=data["reason"],
        actor=get_actor_name(request),
        owner=get_required_owner(request),
    )
    return ActionResult(f"You restarted {data['process'] or 'every process'} of {slot}.")


def _force_release(request: HttpRequest, slot: Slot, data: FormData) -> ActionResult:
    reservations.release(
        settings.OROBOROS.slot(slot.slot_id),
        data["run_id"],
        actor=get_actor_name(request),
        owner=None,
        force=True,
        reason=data["reason"],
    )
    return ActionResult(f"You released {slot}.")


def _find_holder(slot: Slot) -> Run | None:
    """Return the run that holds the slot, from `presenters.select_runs()`."""
    lease = _lease(slot)
    if lease is None or lease.state != LeaseState.HELD:
        return None
    return presenters.select_runs().filter(pk=lease.run_id).first()


def _get_holder_query(slot: Slot) -> dict[str, str]:
    lease = _lease(slot)
    return {} if lease is None else {"run_id": str(lease.run_id)}


def _decide_of_holder(name: str) -> Callable[[HttpRequest, Slot], ActionState]:
    """Return the decision on that action of `runs.allowed_actions` on the run with the slot."""

    def decide(request: HttpRequest, slot: Slot) -> ActionState:
        run = _find_holder(slot)
        if run is None:
            return offer_if(False, f"No run holds {slot}.")
        facts = allowed_actions.read_facts(run, owner=get_required_owner(request))
        return allowed_actions.decide_action(name, facts, get_abilities(request.user))

    return decide


def _add_processes(form: Form, slot: Slot) -> None:
    run = _find_holder(slot)
    names = [one.name for one in presenters.list_processes(run)] if run is not None else []
    form.fields["process"] = build_process_field(names)
    form.order_fields(["process", "reason"])


ACTIONS = (
    AdminAction(
        "restart",
        "Restart",
        HOLD,
        "The processes of the preview are stopped and started again. Its database and its files "
        "stay; visitors wait meanwhile.",
        _restart,
        SlotHolderForm,
        adapt_form=_add_processes,
        decide=_decide_of_holder("restart"),
        get_query=_get_holder_query,
    ),
    AdminAction(
        "force-release",
        "Force release",
        OPERATE,
        "The slot is taken from the run that holds it, even while the run ships.",
        _force_release,
        SlotHolderForm,
        is_dangerous=True,
        decide=_decide_of_holder("force_release"),
        get_query=_get_holder_query,
    ),
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
        "state",
        "holder",
        "since",
        "until",
        "reason",
        "process_list",
        "lease_list",
        "host",
        "fence",
    ]
    readonly_fields = ["state", "holder", "since", "until", "reason", "process_list", "lease_list"]
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

    @display(description="Processes")
    def process_list(self, slot):
        """List the processes of the run that holds the slot, as they are now."""
        lines = map(
            _describe_process, presenters.list_processes_of(build_status(slot, _lease(slot)))
        )
        return _render_lines("<li>{} {}{}</li>", lines)

    @display(description="Last leases")
    def lease_list(self, slot):
        """List the leases of the slot, the newest first: run, times, restarts, end."""
        leases = slot.leases.exclude(granted_at=None).select_related("run")
        lines = map(_describe_lease, leases.order_by("-fence")[:LISTED_LEASES])
        return _render_lines('<li><a href="{}">{}</a> ({}) {}{}</li>', lines)


def _render_lines(form: str, lines: Iterable[tuple[str, ...]]) -> str:
    """Return a list with `form` filled in for each of the lines."""
    items = format_html_join("", form, lines)
    return format_html('<ul class="oro-lines">{}</ul>', items) if items else "none"


def _describe_process(process: ProcessView) -> tuple[str, ...]:
    """Return the name, a chip with the state, and the restarts."""
    count = process.restarts
    restarts = f" restarted {count} time{pluralize(count)}" if count else ""
    chip = render_chip("failed" if process.state == "ended" else process.state, process.state)
    return process.name, chip, restarts


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


def _lease(slot: Slot) -> Lease | None:
    """Return the lease on the slot; no query for a row of `SlotAdmin.get_queryset`."""
    if not hasattr(slot, "now"):
        return Lease.objects.filter(slot=slot, state__in=STATES_WITH_SLOT).first()
    return slot.now[0] if slot.now else None
