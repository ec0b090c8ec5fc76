"""Approvals that come from the forge: /ship in a comment, and approving reviews.

Both approve the run's commit in the name of the person whose account is linked, by the function
that the API calls. A review counts where APPROVE_BY_REVIEW is on, and for the commit that it was
given for only.
"""

from django.contrib.auth.models import User

from accounts.audit.recording import record
from core.audit_trail import Entry
from forges import pull_requests
from forges.adapters.forge import Forge, Review, ReviewEvent
from forges.models import LinkedAccount, PullRequest
from forges.pull_requests import Outcome
from forges.rules import DeliveryDecision
from host.errors import Refused
from runs.approvals.state import build_approver, read_policy, read_state
from runs.lifecycle import operations
from runs.models import Run
from runs.rules import Status
from web.permissions import APPROVE, get_abilities

NOT_LINKED = (
    "Only people with a linked account that may approve can ship. An administrator links it on the "
    "page Linked accounts."
)


def find_user(forge: str, login: str) -> User | None:
    """Return the active user whose account on the forge it is."""
    found = LinkedAccount.objects.filter(forge=forge, login__iexact=login, user__is_active=True)
    account = found.select_related("user").first()
    return account.user if account else None


def require_approver(row: PullRequest, author: str, login: str) -> User:
    """Return the user who may approve the pull request. Raises Refused `not_linked`, `own_work`.

    `author` is what the forge's facts call the account, `login` its name.
    """
    user = find_user(row.forge, login)
    if user is None or APPROVE not in get_abilities(user):
        raise Refused("not_linked", NOT_LINKED)
    if author == row.author and not read_policy().is_self_allowed:
        raise Refused("own_work", "APPROVAL_SELF is forbidden: the author cannot approve this.")
    return user


def approve(run: Run, user: User, reason: str) -> str:
    """Approve the run's commit; returns what that led to, as a sentence. Raises Refused."""
    actor = user.get_username()
    state = operations.approve(run, actor=actor, commit_sha=run.commit_sha, reason=reason)
    if not state.is_complete:
        return f"{run.commit_sha[:12]} has this approval: {state.describe()}"
    return f"{run.commit_sha[:12]} is approved, and ships in its turn."


def act_on_review(forge: Forge, event: ReviewEvent) -> Outcome:
    """Count the approving reviews of the pull request, as the forge has them now."""
    settings = forge.settings
    if not settings.approves_by_review:
        return Outcome(
            DeliveryDecision.IGNORED, "APPROVE_BY_REVIEW is off: reviews approve nothing."
        )
    if not settings.has_token:
        reason = "Reviews need FORGE_TOKEN_FILE: without it write access is not known."
        return Outcome(DeliveryDecision.IGNORED, reason)
    row, _ = pull_requests.record_facts(settings, forge.get_pull_request(event.number))
    row.run = pull_requests.find_run(row)
    reasons = count_reviews(forge, row)
    row.refresh_from_db()
    has_acted = any(is_new for is_new, _ in reasons)
    decision = DeliveryDecision.ACTED if has_acted else DeliveryDecision.IGNORED
    text = " ".join(reason for _, reason in reasons) or "No review approves the head."
    return Outcome(decision, text, row, row.run)


def count_reviews(forge: Forge, row: PullRequest) -> list[tuple[bool, str]]:
    """Approve by each review of exactly the head, which the preview must show.

    Returns for each whether it counted, and what it led to or why not.
    """
    run = row.run
    if run is None or run.status != Status.PREVIEW_READY or run.commit_sha != row.head_sha:
        reason = "The preview of the head is not ready; its reviews count within minutes of that."
        return [(False, reason)]
    found = [one for one in forge.list_approvals(row.number) if one.sha == row.head_sha]
    return [_count(forge, row, run, review) for review in found]


def _count(forge: Forge, row: PullRequest, run: Run, review: Review) -> tuple[bool, str]:
    who = f"Review by {review.login}"
    try:
        if not forge.has_write_access(review.author):
            raise Refused("no_access", f"{review.login} may not write to the repository.")
        user = require_approver(row, review.author, review.login)
        if read_state(run).has_approved(build_approver(user.get_username()).person):
            return False, f"{who}: it has counted already."
        text = approve(run, user, f"review of {row.actor}")
        record(
            Entry("change", user.get_username(), row.forge, "review", str(run.pk), row.actor, text)
        )
        return True, f"{who}: {text}"
    except Refused as refused:
        return False, f"{who}: {refused.detail}"
