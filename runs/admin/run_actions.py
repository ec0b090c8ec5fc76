"""What people do to runs, each asked for on a page of its own."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse

from host.errors import Refused
from runs import merge_queue, presenters
from runs.admin import forms, run_page
from runs.leasing import reservations
from runs.lifecycle import operations
from runs.models import Run
from runs.repository import repository
from runs.rules import Status
from slots.rules import LeaseState
from web.admin_actions import Done, MaybeReason, Reason, Verb
from web.permissions import APPROVE, HOLD, OPERATE, abilities_of, actor

Given = Mapping[str, Any]


def run_url(run: Run) -> str:
    return reverse("admin:runs_run_change", args=[run.pk])


def changes(run: Run | None) -> dict[str, Any]:
    """Return the difference to look at, or the sentence why there is none."""
    if run is None:
        return {}
    try:
        return {"difference": presenters.difference(run, repository(settings.OROBOROS))}
    except Refused as no:
        return {"no_difference": no.detail}


def _about_approving(run: Run) -> dict[str, Any]:
    """Return what changes, and which question is left out: about checks that stay as they are."""
    facts = changes(run)
    difference = facts.get("difference")
    left_out = [] if difference and difference.checks else ["accept_checks"]
    holds = {"freezes": merge_queue.standing_freezes(), "schema": run_page.schema(run)}
    return {**facts, **holds, "left_out": left_out}


def _new(request: HttpRequest, row: None, given: Given) -> Done:
    if given["priority"] and OPERATE not in abilities_of(request.user):
        raise Refused("forbidden", operations.ONLY_OPERATORS_RANK, status=403)
    run = operations.create_run(
        title=given["title"],
        branch=given["branch"],
        commit=given["commit"],
        priority=given["priority"] or 0,
        actor=actor(request),
    )
    return Done(f"{run} waits for its slot or has one already.", run_url(run))


def _approve(request: HttpRequest, run: Run, given: Given) -> Done:
    if given["accept_checks"] and OPERATE not in abilities_of(request.user):
        raise Refused("forbidden", operations.ONLY_OPERATORS, status=403)
    operations.approve(
        run,
        commit_sha=given["commit_sha"],
        reason=given["reason"],
        accept_checks=given["accept_checks"],
        actor=actor(request),
    )
    return Done(f"{given['commit_sha'][:12]} is approved and ships when its turn comes.")


def _reject(request: HttpRequest, run: Run, given: Given) -> Done:
    operations.reject(run, reason=given["reason"], actor=actor(request))
    return Done("Rejected; the slot is given back.")


def _cancel(request: HttpRequest, run: Run, given: Given) -> Done:
    operations.cancel(run, reason=given["reason"], actor=actor(request))
    return Done("The run ends: its processes first, then its slot is given back.")


def _retry(request: HttpRequest, run: Run, given: Given) -> Done:
    again = operations.retry(run, actor=actor(request))
    return Done("A new run of the same branch or commit.", run_url(again))


def _keep(request: HttpRequest, run: Run, given: Given) -> Done:
    operations.keep(run, seconds=given["hours"] * 3600, actor=actor(request))
    return Done(f"Kept for {given['hours']} hours from now.")


def _release(request: HttpRequest, run: Run, given: Given) -> Done:
    return _let_go(request, run, given["reason"], force=False)


def _force_release(request: HttpRequest, run: Run, given: Given) -> Done:
    return _let_go(request, run, given["reason"], force=True)


def _let_go(request: HttpRequest, run: Run, reason: str, *, force: bool) -> Done:
    slot = presenters.slot(run)
    if slot is None:
        raise Refused("not_holder", "The run holds no slot any more.")
    name = actor(request)
    owner = None if OPERATE in abilities_of(request.user) else name
    reservations.release(slot, run.pk, actor=name, owner=owner, force=force, reason=reason)
    return Done(f"{slot.slot_id} is released and cleaned.")


def _freeze(request: HttpRequest, row: None, given: Given) -> Done:
    merge_queue.freeze(actor=actor(request), reason=given["reason"], until=given["until"])
    return Done("Shipping is frozen.")


def _unfreeze(request: HttpRequest, row: None, given: Given) -> Done:
    lifted = merge_queue.unfreeze(actor=actor(request), reason=given["reason"])
    return Done("Shipping goes on." if lifted else "Nothing was frozen.")


def _may_stop(run: Run) -> bool:
    return not run.is_final and run.status != Status.DEPLOYING


def _holds(run: Run) -> bool:
    lease = presenters.lease(run)
    return lease is not None and lease.state == LeaseState.HELD


def _expires(run: Run) -> bool:
    return _holds(run) and presenters.expires_at(run) is not None


VERBS = (
    Verb(
        "new",
        "New run",
        HOLD,
        "The branch or commit gets a preview as soon as a slot is free.",
        _new,
        forms.NewRun,
        is_main=True,
        on_row=False,
        about="oroboros/about_new.html",
        facts=lambda row: {"branches": forms.branches()},
    ),
    Verb(
        "approve",
        "Approve",
        APPROVE,
        "This very commit is merged into the target branch, checked as merged, built and deployed.",
        _approve,
        forms.Approving,
        is_main=True,
        fits=lambda run: run.status == Status.PREVIEW_READY,
        about="oroboros/about_changes.html",
        facts=_about_approving,
        shown=lambda run: {"commit_sha": run.commit_sha},
    ),
    Verb(
        "reject",
        "Reject",
        APPROVE,
        "The run ends as rejected and its slot is given back. The author reads your reason.",
        _reject,
        Reason,
        is_grave=True,
        fits=lambda run: _may_stop(run) and run.prepare,
    ),
    Verb(
        "keep",
        "Keep",
        HOLD,
        "The preview stays, 72 hours at most.",
        _keep,
        forms.Keeping,
        fits=_expires,
    ),
    Verb(
        "retry",
        "Retry",
        HOLD,
        "A new run of the same branch, at its newest commit.",
        _retry,
        fits=lambda run: run.is_final and run.status != Status.MERGED,
    ),
    Verb(
        "cancel",
        "Cancel",
        HOLD,
        "What the run is doing is stopped and its slot is given back.",
        _cancel,
        MaybeReason,
        is_grave=True,
        fits=_may_stop,
    ),
    Verb(
        "release",
        "Release slot",
        HOLD,
        "The slot is cleaned and given to the next in line. A preview that only waited for a look "
        "is canceled by this; a run that ships is not released.",
        _release,
        MaybeReason,
        is_grave=True,
        fits=_holds,
    ),
    Verb(
        "force-release",
        "Force release",
        OPERATE,
        "The slot is taken from whoever holds it, even while they ship. Say why: they will ask.",
        _force_release,
        Reason,
        is_grave=True,
        fits=_holds,
    ),
    Verb(
        "freeze",
        "Freeze shipping",
        OPERATE,
        "Approved runs wait; previews go on.",
        _freeze,
        forms.Freezing,
        is_grave=True,
        on_row=False,
    ),
    Verb(
        "unfreeze",
        "Unfreeze shipping",
        OPERATE,
        "Every standing freeze is lifted, also one that a failed deploy left; the next approved "
        "run ships.",
        _unfreeze,
        Reason,
        on_row=False,
        about="oroboros/freezes.html",
        facts=lambda row: {"freezes": merge_queue.standing_freezes()},
    ),
)
