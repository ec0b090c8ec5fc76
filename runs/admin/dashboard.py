"""The dashboard: slots, waiting runs, the merge queue, the live release, recent runs."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from releases.deployments import rollback_plan
from releases.models import Deployment, Release
from runs import freezes, merge_queue, presenters
from runs.admin import run_actions, run_page
from runs.leasing import queue_status
from runs.models import Run
from runs.pipelines import shipping
from slots.models import Lease
from slots.rules import LeaseState
from web.admin_actions import build_live_context
from web.permissions import HOLD, OPERATE, VIEW, has_ability

ROWS = 10  # of each list
# After how many seconds the page reloads its parts, while runs are open and while none is.
ACTIVE_SECONDS, IDLE_SECONDS = 5, 15


def add_dashboard_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the dashboard's data to the context of the admin's index page.

    unfold calls it (DASHBOARD_CALLBACK). Without `view` the page shows a hint instead.
    """
    if not has_ability(request, VIEW):
        return context
    config, status = settings.OROBOROS, queue_status.read_queue_status()
    unpushed = shipping.list_unpushed_runs(config)
    rolled_back, active = run_actions.get_rolled_back(), freezes.list_active_freezes()
    return {
        **context,
        **build_live_context(request),
        "live_seconds": ACTIVE_SECONDS if Run.objects.unfinished().exists() else IDLE_SECONDS,
        "rolled_back": rolled_back,
        "is_frozen_by_rollback": any(freeze.rollback is not None for freeze in active),
        "slots": [_present_slot(slot) for slot in status.slots],
        "queue_status": status,
        "waiting": _list_waiting(status),
        "merge_queue": merge_queue.list_queue(),
        "freezes": active,
        "live": Release.objects.live(),
        "rollback_release": rollback_plan.find_rollback_target(),
        "deployment": Deployment.objects.select_related("release").first(),
        "unpushed_runs": list(unpushed[:ROWS]),
        "unpushed_count": unpushed.count(),
        "recent_runs": list(presenters.select_runs()[:ROWS]),
        "may_hold": has_ability(request, HOLD),
        "may_operate": has_ability(request, OPERATE),
        "has_no_boundary": not (config.job_user or config.is_systemd),
        "production_url": presenters.build_production_url(config, request.get_host()),
        "new_run_url": reverse("admin:runs_run_new"),
    }


def _present_slot(status: queue_status.SlotStatus) -> dict[str, Any]:
    return {
        "status": status,
        "frontend_url": presenters.get_slot_frontend_url(status),
        "reason": queue_status.describe_withdrawal(status.slot),
    }


def _list_waiting(status: queue_status.QueueStatus) -> list[dict[str, Any]]:
    """Return the first waiting leases with their position and what they wait for."""
    leases = Lease.objects.filter(state=LeaseState.WAITING).select_related("run")[:ROWS]
    return [
        {
            "lease": lease,
            "position": position,
            "forecast": run_page.describe_forecast(status, position),
        }
        for position, lease in enumerate(leases, start=1)
    ]
