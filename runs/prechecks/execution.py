"""Executing prechecks: one at a time on a host, behind everything that ships.

A worker that is killed leaves a row that is open and a gate. The next claim removes the gate and
begins again with the first step, so that nothing is continued that another process began.
"""

import logging
import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction

from core import claims
from core.claims import MAX_ATTEMPTS, Claim, ClaimLost, make_owner_name
from host.config import Config
from host.errors import Refused
from host.process.users import DelegatedUser
from host.units.jobs import JobInterrupted
from releases.builds import build
from runs import freezes
from runs.engine import journal, side_work
from runs.engine.events import WORKER, record_event
from runs.engine.step_errors import StepFailed, StepStopped, translate_errors
from runs.leasing import grants
from runs.lifecycle.execution import kill_leftover_processes
from runs.models import Precheck, Run
from runs.pipelines import merge_gate
from runs.prechecks import requests, rules, steps
from runs.prechecks.rules import PrecheckStatus, Subject
from runs.repository import open_repository
from runs.rules import SHIPPING

log = logging.getLogger(__name__)


def find_wait_reason(config: Config) -> str:
    """Return why no precheck runs on this host now; "" if one may."""
    ours = Run.objects.on_host(config.host_name).filter(status__in=SHIPPING)
    return rules.find_wait_reason(
        list(ours.values_list("status", flat=True)),
        grants.explain_refusal(),
        is_frozen=bool(freezes.list_active_freezes()),
    )


def find_end_reason(precheck: Precheck) -> str:
    """Return why the precheck is of no use any more; "" while it is. Reads the run again."""
    run = Run.objects.get(pk=precheck.run_id)
    subject = Subject(run.status, run.commit_sha, run.generation, bool(run.stop_status))
    return rules.find_end_reason(
        subject, commit=precheck.commit_sha, generation=precheck.generation
    )


def sweep(config: Config) -> int:
    """Request the automatic prechecks that are due, and enqueue a task if one can run.

    Returns how many prechecks are open.
    """
    requests.request_due(config)
    ours = Precheck.objects.on_host(config.host_name)
    return side_work.sweep(ours, requests.TASK, partial(find_wait_reason, config))


def execute_next() -> None:
    """Execute the oldest precheck that can run or has to end; without one, do nothing."""
    config: Config = settings.OROBOROS
    ours = Precheck.objects.on_host(config.host_name)
    reason = partial(find_wait_reason, config)
    side_work.execute_oldest(config, ours, reason, find_end_reason, lambda one: execute(one.pk))


def execute(precheck_id: uuid.UUID) -> bool:
    """Claim a precheck and run it to its end, or until it has to give way.

    Returns whether it was claimed.
    """
    config: Config = settings.OROBOROS
    claim = Precheck.objects.claim(precheck_id, make_owner_name())
    if claim is None:
        return False
    precheck = Precheck.objects.get(pk=precheck_id)
    must_stop = partial(_must_stop, config, precheck)
    rows = Precheck.objects.all()
    try:
        with claims.renew_while_running(rows, claim, must_stop), suppress(ClaimLost):
            if precheck.is_open:
                _execute_claimed(config, precheck, claim)
            # As for a run: what ended without an exception killed no worker.
            rows.filter(pk=claim.pk, claim_fence=claim.fence).update(attempts=0)
    except JobInterrupted as interrupted:
        log.warning("%s; the precheck begins again", interrupted.detail)
    return True


def _must_stop(config: Config, precheck: Precheck) -> bool:
    return bool(find_end_reason(precheck) or find_wait_reason(config))


def _execute_claimed(config: Config, precheck: Precheck, claim: Claim) -> None:
    """Remove what an earlier attempt left, run the steps, remove what they left, store the end."""
    kill_leftover_processes(claim)
    _remove_traces(config, precheck)
    try:
        status, code, detail = _run_steps(config, precheck, claim)
    except StepStopped:
        if claim.is_lost:
            return  # another process has it, or the next worker begins again
        status, code, detail = PrecheckStatus.CANCELED, "", find_end_reason(precheck)
    _remove_traces(config, precheck)
    if status == PrecheckStatus.CANCELED and not detail:
        precheck.wait(claim, find_wait_reason(config))
        return
    with transaction.atomic():
        precheck.end(claim, status, code, detail)
        text = ": ".join(part for part in (f"the check before the approval {status}", code) if part)
        record_event(f"precheck_{status}", text, actor=WORKER, run=precheck.run)


def _run_steps(config: Config, precheck: Precheck, claim: Claim) -> tuple[PrecheckStatus, str, str]:
    """Run the steps. Returns how it ended, a failure code and a detail.

    Raises StepStopped if it has to end or to give way, and ClaimLost.
    """
    if _must_stop(config, precheck):
        raise StepStopped
    if precheck.attempts > MAX_ATTEMPTS:
        detail = f"The worker died {precheck.attempts - 1} times at the step {precheck.step}."
        return PrecheckStatus.FAILED, "STEP_KEPT_DYING", detail
    precheck.start(claim)
    # Again: a run that began to ship before the row said so does not wait for this precheck.
    if _must_stop(config, precheck):
        raise StepStopped
    # Not saved: the gate's steps find the precheck's commits in it, which the run's row has not.
    run = Run.objects.get(pk=precheck.run_id)
    run.base_sha, run.candidate_sha, run.release = "", "", None
    results: dict[str, dict[str, Any]] = {}
    for step in steps.list_steps(precheck):
        precheck.update(claim, step=step.name)
        context = steps.begin_step(config, precheck, run, claim, step, results)
        try:
            with translate_errors(config, context.log), step.context_manager(context):
                results[step.name] = journal.make_effect(context)
        except StepFailed as failed:
            return PrecheckStatus.FAILED, failed.code, failed.detail
    precheck.update(claim, step="", progress={"checks": results["checks"]["checks"]})
    return PrecheckStatus.PASSED, "", ""


def _remove_traces(config: Config, precheck: Precheck) -> None:
    """End the precheck's processes, and remove its gate, release and ref.

    The reconciler removes files that this leaves. Raises Refused `precheck_still_runs`: then the
    row says that it runs, for which merge gates wait, and the next claim tries again.
    """
    user = config.precheck_user
    # One precheck runs at a time: whatever runs as this user is of it, however it hides.
    if user is not None and not isinstance(user, DelegatedUser) and not user.kill_all():
        raise Refused("precheck_still_runs", f"Processes of uid {user.uid} do not end.")
    for remove in (_remove_gate, _remove_release, _remove_ref):
        try:
            remove(config, precheck)
        except (Refused, OSError) as error:
            log.warning("precheck %s has left something: %s", precheck.pk, error)


def _remove_gate(config: Config, precheck: Precheck) -> None:
    merge_gate.remove_gate(config, precheck.pk)


def _remove_release(config: Config, precheck: Precheck) -> None:
    build.delete_temporary_builds(config, precheck.pk)


def _remove_ref(config: Config, precheck: Precheck) -> None:
    steps.delete_candidate_ref(open_repository(config), precheck)
