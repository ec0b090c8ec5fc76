"""The front page: the slots, the line, what ships, what is live."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from core.clock import database_time
from releases.deployments import rollback_plan
from releases.models import Activation, Release
from runs import merge_queue, presenters
from runs.leasing import queue_status
from runs.pipelines import shipping
from slots.models import Lease
from slots.rules import LeaseState
from web.permissions import HOLD, OPERATE, VIEW, may

SHOWN = 10


def front(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the front page shows to the context of the admin's index."""
    if not may(request, VIEW):
        return context
    config, line = settings.OROBOROS, queue_status.line()
    unpushed = shipping.unpushed(config)
    return {
        **context,
        "slots": [_slot(view) for view in line.slots],
        "line": line,
        "waiting": _waiting(line),
        "shipping": merge_queue.in_order(),
        "freezes": merge_queue.standing_freezes(),
        "live": Release.objects.live(),
        "offered": rollback_plan.offered(),
        "activation": Activation.objects.select_related("release").first(),
        "unpushed": list(unpushed[:SHOWN]),
        "unpushed_count": unpushed.count(),
        "recent": list(presenters.runs()[:SHOWN]),
        "may_hold": may(request, HOLD),
        "may_operate": may(request, OPERATE),
        "has_no_boundary": not (config.job_user or config.is_systemd),
        "production_url": f"http://127.0.0.1:{config.web_port}",
        "now": database_time(),
        "new_run_url": reverse("admin:runs_run_new"),
    }


def _slot(view: queue_status.SlotView) -> dict[str, Any]:
    config = settings.OROBOROS.slot(view.slot.slot_id)
    return {
        "view": view,
        "frontend_url": settings.OROBOROS.frontend_url(config),
        "why": view.slot.quarantine_reason or view.slot.drain_reason,
    }


def _waiting(line: queue_status.Line) -> list[dict[str, Any]]:
    """Return the first of those who wait, with the estimate of when each gets a slot."""
    first = Lease.objects.filter(state=LeaseState.WAITING).select_related("run")[:SHOWN]
    return [
        {"lease": lease, "position": place, "estimate": line.estimate(place)}
        for place, lease in enumerate(first, start=1)
    ]
