"""Requests of prechecks: by people, and by themselves where MERGE_GATE_PRECHECK says so."""

from django_q.tasks import async_task

from host.config import Config
from host.errors import Refused
from host.operator_settings import run_time
from runs.engine.events import WORKER, record_event
from runs.models import Precheck, Run
from runs.pipelines.merge_forecast import MergeOutcome
from runs.prechecks import rules
from runs.prechecks.rules import PrecheckMode
from runs.rules import Status

TASK = "runs.prechecks.execution.execute_next"


def read_mode(config: Config) -> PrecheckMode:
    """Return MERGE_GATE_PRECHECK; `manual` if it is not set. Raises Refused `setting_invalid`."""
    return PrecheckMode(run_time.read_text(config, run_time.PRECHECK))


def request_precheck(run: Run, *, actor: str) -> Precheck:
    """Request a precheck of the run's present commit; an open one is returned instead.

    Raises Refused `not_ready` unless a preview is ready, `already_stopping`.
    """
    run = Run.objects.get(pk=run.pk)
    if run.status != Status.PREVIEW_READY:
        detail = f"The run is {run.status}; only a ready preview can be checked."
        raise Refused("not_ready", detail)
    if run.stop_status:
        raise Refused("already_stopping", f"The run is already being ended ({run.stop_status}).")
    precheck, is_new = Precheck.objects.request(run, requested_by=actor)
    if is_new:
        text = f"requested a check of {run.commit_sha[:12]} before its approval"
        record_event("precheck_requested", text, actor=actor, run=run)
        async_task(TASK)
    return precheck


def request_due(config: Config) -> list[Precheck]:
    """Request the prechecks of this host's ready runs that are due, if it is automatic."""
    if read_mode(config) != PrecheckMode.AUTO:
        return []
    ready = Run.objects.on_host(config.host_name).filter(
        prepare=True, status=Status.PREVIEW_READY, stop_status=""
    )
    return [request_precheck(run, actor=WORKER) for run in ready if _is_due(run)]


def _is_due(run: Run) -> bool:
    forecast = run.merge_forecast
    is_known = forecast.get("commit") == run.commit_sha
    if not is_known or forecast["outcome"] != MergeOutcome.MERGES:
        return False
    latest = run.prechecks.first()
    outcome = latest.outcome if latest is not None else None
    return rules.is_due(outcome, commit=run.commit_sha, base=forecast["base"])
