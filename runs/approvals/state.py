"""The approvals of a run, as the rules need them."""

from django.conf import settings

from accounts.identities import find_person, list_identities
from host.operator_settings import run_time
from runs.approvals.requirements import parse_requirements
from runs.approvals.rules import ApprovalState, Approver, Policy
from runs.models import Run


def read_policy() -> Policy:
    """Return the settings of approvals as they are now."""
    config = settings.OROBOROS
    return Policy(
        required_count=run_time.read_number(config, run_time.REQUIRED_COUNT),
        is_self_allowed=run_time.read_text(config, run_time.SELF_APPROVAL) == "allowed",
        needs_owners=run_time.read_text(config, run_time.CODEOWNERS) == "required",
    )


def find_approver(actor: str) -> Approver | None:
    """Return who asks, for `allowed_actions`; None if it makes no difference who approves."""
    return build_approver(actor) if read_policy().asks_for_more else None


def build_approver(actor: str) -> Approver:
    """Return who approves under that name of the audit trail."""
    person = find_person(actor)
    return Approver(actor, person, list_identities(person))


def read_state(run: Run) -> ApprovalState:
    """Return the state of the run's approvals. No query if its approvals are prefetched."""
    valid = (one for one in run.approvals.all() if one.is_valid_for(run.commit_sha))
    given = sorted(valid, key=lambda one: one.pk)
    approvers = (Approver(one.actor, one.person, frozenset(one.identities)) for one in given)
    return ApprovalState(read_policy(), parse_requirements(run), tuple(approvers))
