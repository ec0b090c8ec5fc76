"""Which actions a person may perform on a run now, and why not the others.

The one decision for the admin's buttons, the API's `allowed_actions` and comments on a forge. The
operations check again, under their locks: what is allowed here may be refused a moment later.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.conf import settings

from runs import presenters
from runs.approvals.rules import Approver
from runs.approvals.state import read_state
from runs.leasing.rules import NO_PROCESSES, NOT_READY, WITH_PREVIEW
from runs.lifecycle.finish import is_too_late_to_stop
from runs.models import Run
from runs.pipelines.merge_forecast import find_known_obstacle
from runs.rules import FINAL, MERGING_OR_DEPLOYING, SHIPPING, Status
from web.permissions import (
    ALLOWED,
    APPROVE,
    HOLD,
    OPERATE,
    OWNER_REFUSAL,
    ActionState,
    require_ability,
)

TOO_LATE = "The merge has begun; wait for its end, then roll back the release."
NO_SLOT = "The run holds no slot."
KEPT_WHILE_SHIPPING = "The slot is kept while the run ships, and released when it is merged."


@dataclass(frozen=True)
class RunFacts:
    """What decides about the actions on a run.

    `has_processes`: its slot runs processes for it, which a preview of files only has not.
    `is_own`: the person created the run, or may act in place of its creator. `merged_in`: the title
    of a merged run of the same commit, "" without one. `merge_obstacle`: why the commit cannot
    ship, by its last forecast, "" if it can. `approval_refusal`: why the rules of approvals
    (`runs.approvals.rules`) do not let this person approve, "" if they do.
    """

    status: str
    is_reservation: bool = False
    is_own: bool = True
    has_slot: bool = False
    has_processes: bool = False
    has_expiry: bool = False
    is_stopping: bool = False
    is_too_late: bool = False
    merged_in: str = ""
    merge_obstacle: str = ""
    has_open_precheck: bool = False
    approval_refusal: str = ""

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


def _hide(reason: str) -> ActionState:
    return ActionState(False, reason, is_hidden=True)


def _disable(reason: str) -> ActionState:
    return ActionState(False, reason)


def _decide_approve(facts: RunFacts) -> ActionState:
    if facts.is_reservation:
        return _hide("A reservation only holds a slot; it has nothing to approve.")
    if facts.is_final or facts.status in SHIPPING:
        return _hide(f"The run is {facts.status}; only a ready preview can be approved.")
    if facts.status != Status.PREVIEW_READY:
        return _disable("The preview is not ready yet.")
    if facts.merged_in:
        return _disable(f"This commit is merged already, by the run {facts.merged_in}.")
    if facts.merge_obstacle:
        return _disable(facts.merge_obstacle)
    if facts.approval_refusal:
        return _disable(facts.approval_refusal)
    return _unless_stopping(facts)


def _decide_precheck(facts: RunFacts) -> ActionState:
    if facts.is_reservation or facts.status != Status.PREVIEW_READY:
        return _hide("Only a ready preview can be checked before its approval.")
    if facts.merged_in:
        return _disable(f"This commit is merged already, by the run {facts.merged_in}.")
    if facts.has_open_precheck:
        return _disable("A check of this commit is under way.")
    return _unless_stopping(facts)


def _decide_reject(facts: RunFacts) -> ActionState:
    if facts.is_reservation:
        return _hide("A reservation only holds a slot; it has nothing to reject.")
    return _decide_stop(facts)


def _decide_cancel(facts: RunFacts) -> ActionState:
    stop = _decide_stop(facts)
    return stop if stop.is_hidden or facts.is_own else _disable(OWNER_REFUSAL)


def _decide_stop(facts: RunFacts) -> ActionState:
    if facts.is_final:
        return _hide(f"The run is already {facts.status}.")
    return _disable(TOO_LATE) if facts.is_too_late else _unless_stopping(facts)


def _unless_stopping(facts: RunFacts) -> ActionState:
    return _disable("The run is already being ended.") if facts.is_stopping else ALLOWED


def _decide_retry(facts: RunFacts) -> ActionState:
    if not facts.is_final:
        return _hide(f"The run is {facts.status}; only an ended run can be retried.")
    # Allowed, but not offered: its branch may have new commits.
    return ActionState(True, is_hidden=facts.status == Status.MERGED)


def _decide_keep(facts: RunFacts) -> ActionState:
    if not facts.has_slot:
        return _hide(NO_SLOT)
    if not facts.has_expiry:
        return _hide("The slot has no expiry while the run ships.")
    return ALLOWED if facts.is_own else _disable(OWNER_REFUSAL)


def _decide_release(facts: RunFacts) -> ActionState:
    if not facts.has_slot:
        return _hide(NO_SLOT)
    if not facts.is_own:
        return _disable(OWNER_REFUSAL)
    return _disable(KEPT_WHILE_SHIPPING) if facts.status in SHIPPING else ALLOWED


def _decide_force_release(facts: RunFacts) -> ActionState:
    return ALLOWED if facts.has_slot else _hide(NO_SLOT)


def _decide_restart(facts: RunFacts) -> ActionState:
    if facts.is_reservation:
        return _hide("A reservation only holds a slot; it has no processes.")
    if not facts.has_slot:
        return _hide(NO_SLOT)
    if facts.status not in WITH_PREVIEW:
        return _disable(NOT_READY)
    if not facts.has_processes:
        return _hide(NO_PROCESSES)
    return _unless_stopping(facts) if facts.is_own else _disable(OWNER_REFUSAL)


# The name of each action in the API, the ability that it needs, and its decision.
DECISIONS: Mapping[str, tuple[str, Callable[[RunFacts], ActionState]]] = {
    "approve": (APPROVE, _decide_approve),
    "precheck": (APPROVE, _decide_precheck),
    "reject": (APPROVE, _decide_reject),
    "keep": (HOLD, _decide_keep),
    "retry": (HOLD, _decide_retry),
    "cancel": (HOLD, _decide_cancel),
    "release": (HOLD, _decide_release),
    "restart": (HOLD, _decide_restart),
    "force_release": (OPERATE, _decide_force_release),
}


def decide_action(name: str, facts: RunFacts, abilities: frozenset[str]) -> ActionState:
    """Return whether the action `name` of DECISIONS is allowed, disabled or hidden."""
    ability, decide = DECISIONS[name]
    return require_ability(ability, abilities) or decide(facts)


def decide_unfreeze(abilities: frozenset[str], *, is_frozen: bool) -> ActionState:
    """Return whether shipping can be unfrozen: hidden if nothing is frozen."""
    hidden = None if is_frozen else _hide("Shipping is not frozen.")
    return require_ability(OPERATE, abilities) or hidden or ALLOWED


def read_facts(run: Run, *, owner: str | None, approver: Approver | None = None) -> RunFacts:
    """Return the facts of a run from `presenters.select_runs()`.

    `owner`: who must have created it (`web.permissions.get_required_owner`). `approver`: the person
    who asks, None if they approve nothing. At most one query, and only for the one run that merges.
    """
    refusal, obstacle = None, None
    if run.status == Status.PREVIEW_READY:
        obstacle = find_known_obstacle(run, settings.OROBOROS.target_branch)
    if approver is not None and run.status == Status.PREVIEW_READY:
        refusal = read_state(run).find_refusal(approver)
    is_held = presenters.get_served_slot(run) is not None
    return RunFacts(
        status=run.status,
        is_reservation=not run.prepare,
        is_own=owner is None or run.created_by == owner,
        has_slot=is_held,
        has_processes=is_held and presenters.has_processes(run),
        has_expiry=is_held and presenters.get_expiry(run) is not None,
        is_stopping=bool(run.stop_status),
        is_too_late=run.status in MERGING_OR_DEPLOYING and is_too_late_to_stop(run),
        merged_in=run.merged_in or "",  # type: ignore[attr-defined]
        has_open_precheck=bool(run.has_open_precheck),  # type: ignore[attr-defined]
        merge_obstacle=obstacle.detail if obstacle is not None else "",
        approval_refusal=refusal.detail if refusal is not None else "",
    )
