"""The dashboard: slots, waiting runs, the merge queue, the live release, recent runs."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.urls import reverse

from accounts.models import ApiToken
from host.config import Config
from host.operator_settings import run_time
from releases.deployments import rollback_plan
from releases.models import Deployment, Release
from runs import freezes, merge_queue, presenters
from runs.admin import needs_you, run_actions, run_page
from runs.leasing import queue_status
from runs.models import Freeze, Run
from runs.pipelines import shipping
from runs.rollback_state import count_missing_commits, describe_missing
from slots.models import Lease
from slots.rules import LeaseState
from web.admin_actions import build_live_context
from web.permissions import HOLD, OPERATE, VIEW, get_abilities, get_actor_name, has_ability

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
    live, recent = Release.objects.live(), list(presenters.select_runs()[:ROWS])
    unpushed, queue = list(shipping.list_unpushed_runs(config)), merge_queue.list_queue()
    rolled_back, active = run_actions.get_rolled_back(), freezes.list_active_freezes()
    is_active = bool(queue or status.waiting or any(one.lease for one in status.slots))
    is_operator = has_ability(request, OPERATE)
    return {
        **context,
        **build_live_context(request),
        "live_seconds": ACTIVE_SECONDS if is_active else IDLE_SECONDS,
        "needs": _list_needs(request, status, active, len(unpushed)),
        "first_steps": _list_first_steps(config, live, recent) if is_operator else [],
        "rolled_back": rolled_back,
        "is_frozen_by_rollback": any(freeze.rollback is not None for freeze in active),
        "slots": [_present_slot(slot) for slot in status.slots],
        "queue_status": status,
        "waiting": _list_waiting(status),
        "merge_queue": queue,
        "freezes": active,
        "live": live,
        "missing": _describe_missing(config, live) if live is not None else "",
        # The first release, and one that was deployed from the shell, have none.
        "live_run": live and live.run_id and Run.objects.filter(pk=live.run_id).first(),
        "rollback_release": rollback_plan.find_rollback_target(),
        "deployment": Deployment.objects.select_related("release").first(),
        "unpushed_runs": unpushed[:ROWS],
        "unpushed_count": len(unpushed),
        "recent_runs": recent,
        "may_hold": has_ability(request, HOLD),
        "may_operate": is_operator,
        "has_no_boundary": not (config.job_user or config.is_systemd),
        "production_url": presenters.build_production_url(config, request.get_host()),
        "new_run_url": reverse("admin:runs_run_new"),
    }


def _describe_missing(config: Config, live: Release) -> str:
    count = count_missing_commits(config, live.commit_sha)
    return describe_missing(count, config.target_branch)


def _list_needs(
    request: HttpRequest,
    status: queue_status.QueueStatus,
    active: Sequence[Freeze],
    unpushed_count: int,
) -> list[needs_you.Need]:
    person, abilities = get_actor_name(request), get_abilities(request.user)
    facts = needs_you.DashboardFacts(
        at=status.at,
        slots=status.slots,
        own_failures=needs_you.list_own_failures(person, status.at, ROWS),
        freezes=active,
        unpushed_count=unpushed_count,
        expiring_tokens=ApiToken.objects.expiring() if OPERATE in abilities else (),
        refusal=status.refusal,
        merged_commits=needs_you.find_merged_commits(status.slots),
        mentions=needs_you.list_mentions(person, status.slots)[:ROWS],
    )
    return needs_you.list_needs(person, abilities, facts)


def _list_first_steps(
    config: Config, live: Release | None, recent: Sequence[Run]
) -> list[needs_you.FirstStep]:
    return needs_you.list_first_steps(
        has_remote=bool(config.git_remote_url),
        has_release=live is not None,
        has_people=lambda: User.objects.filter(is_active=True).count() > 1,
        has_preview=any(run.prepare for run in recent),
        has_push_mode=run_time.is_set(config, run_time.PUSH_MODE),
        has_forge=bool(config.get("FORGE")),
    )


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
