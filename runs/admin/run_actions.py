"""The actions on runs. Each is confirmed on a page of its own."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.forms import Form
from django.http import HttpRequest
from django.urls import reverse

from core.clock import format_minute
from host.errors import Refused
from runs import allowed_actions, difference, freezes, merge_queue, presenters
from runs.admin import forms, run_page
from runs.approvals.state import find_approver, read_state
from runs.leasing import reservations
from runs.lifecycle import operations, reverts
from runs.lifecycle.pushing import push_target_branch
from runs.models import Run
from runs.prechecks.requests import request_precheck
from runs.repository import open_repository
from runs.rollback_state import read_rollback_state
from web.admin_actions import (
    ActionResult,
    AdminAction,
    OptionalReasonForm,
    ReasonForm,
    offer_if,
)
from web.permissions import (
    APPROVE,
    HOLD,
    OPERATE,
    ActionState,
    check_owner,
    get_abilities,
    get_actor_name,
    get_required_owner,
)

FormData = Mapping[str, Any]


def run_url(run: Run) -> str:
    return reverse("admin:runs_run_change", args=[run.pk])


def get_rolled_back() -> dict[str, Any] | None:
    """Return the rollback that production runs with, for the pages; None without one."""
    config = settings.OROBOROS
    state = read_rollback_state(config)
    if state is None:
        return None
    return {"state": state, "missing": state.describe_missing(config.target_branch)}


def get_difference(run: Run | None, path: str | None = None, *, since: str = "") -> dict[str, Any]:
    """Return the template context `difference`, or `no_difference` with the reason.

    With a `path` the lines of that file alone are shown, with larger limits; with `since`, a
    commit, what changed from that one to the run's.
    """
    if run is None:
        return {}
    try:
        repo = open_repository(settings.OROBOROS)
        if since:
            commits = (repo.require_commit(since), repo.require_commit(run.commit_sha))
            found = difference.compare_commits(repo, *commits, path)
        else:
            found = difference.compute_difference(run, repo, path)
        return {"difference": found, "only_path": path}
    except Refused as refusal:
        return {"no_difference": refusal.detail}


def _get_new_run_details(request: HttpRequest, row: None) -> dict[str, Any]:
    is_operator = OPERATE in get_abilities(request.user)
    return {
        "branches": forms.list_branches(),
        "omitted_fields": [] if is_operator else ["priority"],
    }


def _get_approve_details(request: HttpRequest, run: Run) -> dict[str, Any]:
    """Return what the approval ships.

    Accepting checks is offered only to operators, and only if the branch changes them.
    """
    context = get_difference(run)
    computed = context.get("difference")
    may_accept = bool(computed and computed.checks) and OPERATE in get_abilities(request.user)
    omitted = [] if may_accept else ["accept_checks"]
    return {
        **context,
        "preview_check": run_page.describe_preview_check(run),
        "freezes": freezes.list_active_freezes(),
        "rolled_back": get_rolled_back(),
        "schema": run_page.describe_schema(run),
        "facts": run_page.describe_facts(run),
        "approval_state": read_state(run),
        "open_comments": run.comments.filter(resolved_at=None).count(),
        "omitted_fields": omitted,
    }


def _new(request: HttpRequest, row: None, data: FormData) -> ActionResult:
    if data["priority"] and OPERATE not in get_abilities(request.user):
        raise Refused("forbidden", operations.PRIORITY_REFUSAL, status=403)
    run, is_new = operations.request_run(
        title=data["title"],
        branch=data["branch"],
        commit=data["commit"],
        priority=data["priority"] or 0,
        another=data["another"],
        actor=get_actor_name(request),
    )
    source = data["branch"] or data["commit"][:12]
    text = f"The run {run} was created." if is_new else f"{source} has an open run already: {run}."
    return ActionResult(text, run_url(run))


def _approve(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    if data["accept_checks"] and OPERATE not in get_abilities(request.user):
        raise Refused("forbidden", operations.ACCEPT_CHECKS_REFUSAL, status=403)
    state = operations.approve(
        run,
        commit_sha=data["commit_sha"],
        reason=data["reason"],
        accept_checks=data["accept_checks"],
        checklist=data.get("checklist", ()),
        actor=get_actor_name(request),
    )
    missing = "" if state.is_complete else f" {state.describe()}"
    return ActionResult(f"You approved {data['commit_sha'][:12]}.{missing}")


def _precheck(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    request_precheck(run, actor=get_actor_name(request))
    return ActionResult(f"You requested a check of {run.commit_sha[:12]}.")


def _add_checklist(form: Form, run: Run) -> None:
    """Give the form the target branch's checklist, if it has one."""
    items = read_state(run).checklist
    if items:
        form.fields["checklist"] = forms.build_checklist_field(items)


def _reject(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    operations.reject(run, reason=data["reason"], actor=get_actor_name(request))
    return ActionResult("You rejected the run.")


def _cancel(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    check_owner(run.created_by, get_required_owner(request), code="run_not_yours")
    operations.cancel(run, reason=data["reason"], actor=get_actor_name(request))
    return ActionResult("You canceled the run.")


def _retry(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    child = operations.retry(run, actor=get_actor_name(request))
    return ActionResult("You retried the run: this is the new one.", run_url(child))


def _keep(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    check_owner(run.created_by, get_required_owner(request), code="run_not_yours")
    before = presenters.get_expiry(run)
    end = operations.keep(run, seconds=data["hours"] * 3600, actor=get_actor_name(request))
    return ActionResult(describe_keep(before, end))


def describe_keep(before: datetime | None, end: datetime) -> str:
    """Return what keeping the preview did to the end of its lease, which it never shortens."""
    until = format_minute(end)
    if before is not None and end <= before:
        return f"Nothing was changed: the preview keeps its slot until {until} already."
    return f"The preview was kept: its lease expires {until}."


def _release(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    return _release_slot(request, run, data["reason"], force=False)


def _force_release(request: HttpRequest, run: Run, data: FormData) -> ActionResult:
    return _release_slot(request, run, data["reason"], force=True)


def _release_slot(request: HttpRequest, run: Run, reason: str, *, force: bool) -> ActionResult:
    slot = presenters.get_slot(run)
    if slot is None:
        raise Refused("not_holder", "The run no longer holds a slot.")
    name, owner = get_actor_name(request), get_required_owner(request)
    reservations.release(slot, run.pk, actor=name, owner=owner, force=force, reason=reason)
    return ActionResult(f"You released {slot.slot_id}.")


def _freeze(request: HttpRequest, row: None, data: FormData) -> ActionResult:
    freezes.freeze_shipping(
        actor=get_actor_name(request), reason=data["reason"], until=data["until"]
    )
    return ActionResult("You froze shipping.")


def _revert(request: HttpRequest, row: None, data: FormData) -> ActionResult:
    run, is_new = reverts.create_revert_run(settings.OROBOROS, actor=get_actor_name(request))
    text = (
        "The run that reverts was created." if is_new else "The run that reverts is open already."
    )
    return ActionResult(text, run_url(run))


def _unfreeze(request: HttpRequest, row: None, data: FormData) -> ActionResult:
    lifted = merge_queue.unfreeze_shipping(
        settings.OROBOROS, actor=get_actor_name(request), reason=data["reason"]
    )
    return ActionResult(
        "You lifted every freeze of shipping." if lifted else "There was no active freeze."
    )


def _push(request: HttpRequest, row: None, data: FormData) -> ActionResult:
    result = push_target_branch(
        settings.OROBOROS, actor=get_actor_name(request), dry_run=data["dry_run"]
    )
    return ActionResult(str(result))


def _decide(name: str) -> Callable[[HttpRequest, Run], ActionState]:
    """Return the decision on the action of that name of `runs.allowed_actions`."""

    def decide(request: HttpRequest, run: Run) -> ActionState:
        owner = get_required_owner(request)
        approver = find_approver(get_actor_name(request)) if name == "approve" else None
        facts = allowed_actions.read_facts(run, owner=owner, approver=approver)
        return allowed_actions.decide_action(name, facts, get_abilities(request.user))

    return decide


def _decide_revert(request: HttpRequest, row: None) -> ActionState:
    is_rolled_back = read_rollback_state(settings.OROBOROS) is not None
    return offer_if(is_rolled_back, "Production is not behind the target branch.")


def _decide_unfreeze(request: HttpRequest, row: None) -> ActionState:
    is_frozen = bool(freezes.list_active_freezes())
    return allowed_actions.decide_unfreeze(get_abilities(request.user), is_frozen=is_frozen)


ACTIONS = (
    AdminAction(
        "new",
        "New run",
        HOLD,
        "The branch or commit gets a preview as soon as a slot is free.",
        _new,
        forms.NewRunForm,
        is_primary=True,
        is_for_row=False,
        details_template="oroboros/new_run_branches.html",
        get_details=_get_new_run_details,
    ),
    AdminAction(
        "approve",
        "Approve",
        APPROVE,
        "Exactly this commit is merged into the target branch, checked, built and deployed.",
        _approve,
        forms.ApproveForm,
        adapt_form=_add_checklist,
        is_primary=True,
        decide=_decide("approve"),
        details_template="oroboros/approve_changes.html",
        get_details=_get_approve_details,
        get_query=lambda run: {"commit_sha": run.commit_sha},
    ),
    AdminAction(
        "precheck",
        "Check now",
        APPROVE,
        "The commit is merged into today's target branch, migrated on a clone of its database, "
        "built and checked, as the merge gate does it. Nothing is started with production's "
        "secrets, nothing is deployed, and what ships is verified again.",
        _precheck,
        decide=_decide("precheck"),
    ),
    AdminAction(
        "reject",
        "Reject",
        APPROVE,
        "The run ends as rejected and its slot is released. The author sees the reason.",
        _reject,
        ReasonForm,
        is_dangerous=True,
        decide=_decide("reject"),
    ),
    AdminAction(
        "keep",
        "Keep",
        HOLD,
        "The preview keeps its slot for the chosen time at least; it is never shortened.",
        _keep,
        forms.KeepForm,
        decide=_decide("keep"),
        details_template="oroboros/keep_expiry.html",
        get_details=lambda request, run: {"expires_at": presenters.get_expiry(run)},
    ),
    AdminAction(
        "retry",
        "Retry",
        HOLD,
        "Creates a new run of the same branch, at its newest commit.",
        _retry,
        decide=_decide("retry"),
    ),
    AdminAction(
        "cancel",
        "Cancel",
        HOLD,
        "The run's processes are stopped and its slot is released.",
        _cancel,
        OptionalReasonForm,
        is_dangerous=True,
        is_bulk=True,
        decide=_decide("cancel"),
    ),
    AdminAction(
        "release",
        "Release slot",
        HOLD,
        "The slot is cleaned and granted to the next waiting run. A preview that is not approved "
        "yet is canceled. The slot of a run that ships is not released.",
        _release,
        OptionalReasonForm,
        is_dangerous=True,
        is_bulk=True,
        decide=_decide("release"),
    ),
    AdminAction(
        "force-release",
        "Force release",
        OPERATE,
        "The slot is taken from the run that holds it, even while the run ships.",
        _force_release,
        ReasonForm,
        is_dangerous=True,
        is_bulk=True,
        decide=_decide("force_release"),
    ),
    AdminAction(
        "freeze",
        "Freeze shipping",
        OPERATE,
        "Approved runs wait until the freeze ends. Previews continue.",
        _freeze,
        forms.FreezeForm,
        is_dangerous=True,
        is_for_row=False,
    ),
    AdminAction(
        "revert",
        "Revert on the target branch",
        HOLD,
        "Creates a run whose commit gives the target branch the files of the live release. It is "
        "reviewed and approved as every run, and ships although the rollback froze shipping.",
        _revert,
        is_for_row=False,
        decide=_decide_revert,
        details_template="oroboros/rolled_back.html",
        get_details=lambda request, row: {"rolled_back": get_rolled_back()},
    ),
    AdminAction(
        "unfreeze",
        "Unfreeze shipping",
        OPERATE,
        "Every active freeze is lifted, also one caused by a failed deployment. The next approved "
        "run ships.",
        _unfreeze,
        ReasonForm,
        is_for_row=False,
        decide=_decide_unfreeze,
        details_template="oroboros/freezes.html",
        get_details=lambda request, row: {"freezes": freezes.list_active_freezes()},
    ),
    AdminAction(
        "push",
        "Push now",
        OPERATE,
        "The target branch is pushed to the remote, with the configured credentials and without "
        "force.",
        _push,
        forms.PushForm,
        is_for_row=False,
    ),
)
