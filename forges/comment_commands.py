"""Commands in comments: /preview, /keep 8h, /cancel, /retry, and /ship with the commit.

Only people who may write to the repository give them; /ship also needs an account here, linked to
theirs on the forge, that may approve. They are answered by a reaction, and in our comment.
"""

from collections.abc import Callable

from django.conf import settings

from accounts.audit.recording import record
from core.audit_trail import Entry
from forges import pull_requests
from forges.adapters.forge import CommentEvent, Forge, PullRequestState
from forges.adapters.http_client import ForgeFailed
from forges.approving import approve, find_user, require_approver
from forges.models import OutgoingMessage, PullRequest
from forges.pull_requests import Outcome
from forges.reporting.outbox import ACCEPTED, REACTION, REFUSED
from forges.rules import Command, DeliveryDecision, parse_command, parse_duration
from host.config import Config
from host.errors import Refused
from runs import allowed_actions, presenters
from runs.lifecycle import operations
from runs.models import Run
from web.permissions import HOLD

SHA_LENGTH = 7


def perform(config: Config, forge: Forge, event: CommentEvent) -> Outcome:
    """Do what the comment commands, and answer it. Raises ForgeFailed if the forge is silent."""
    command = parse_command(event.text)
    if command is None:
        return Outcome(DeliveryDecision.IGNORED, "The comment begins with no command.")
    if not forge.settings.has_token:
        reason = "Commands need FORGE_TOKEN_FILE: without it write access is not known."
        return Outcome(DeliveryDecision.IGNORED, reason)
    row, _ = pull_requests.record_facts(forge.settings, forge.get_pull_request(event.number))
    if not forge.has_write_access(event.author):
        # Without a word in our comment, which strangers could have rewritten without end.
        _react(row, event, is_accepted=False)
        reason = f"{event.login} may not write to the repository."
        _audit(forge, row, event, command, reason, is_accepted=False)
        return Outcome(DeliveryDecision.IGNORED, reason, row)
    is_accepted, text = _try(config, forge, row, event, command)
    _audit(forge, row, event, command, text, is_accepted=is_accepted)
    return _answer(row, event, command, is_accepted, text)


def _try(
    config: Config, forge: Forge, row: PullRequest, event: CommentEvent, command: Command
) -> tuple[bool, str]:
    """Return whether the command was accepted, and what it led to or why not, as a sentence."""
    try:
        row.run = pull_requests.find_run(row)
        if command.name == "preview":
            return True, _preview(config, forge, row)
        if command.name == "ship":
            return True, _ship(row, event, command)
        return True, RUN_COMMANDS[command.name](row, _name_actor(event, forge), command)
    except ForgeFailed:
        raise
    except Refused as refused:
        return False, refused.detail


def _answer(
    row: PullRequest, event: CommentEvent, command: Command, is_accepted: bool, text: str
) -> Outcome:
    answer = f"/{command.name} by {event.login}: {text}"
    PullRequest.objects.filter(pk=row.pk).update(answer=answer)
    _react(row, event, is_accepted=is_accepted)
    row.refresh_from_db()
    decision = DeliveryDecision.ACTED if is_accepted else DeliveryDecision.IGNORED
    return Outcome(decision, answer, row, row.run)


def _audit(
    forge: Forge,
    row: PullRequest,
    event: CommentEvent,
    command: Command,
    text: str,
    *,
    is_accepted: bool,
) -> None:
    """Put the command on the audit trail; the address is the forge's name."""
    name = forge.settings.forge
    target = str(row.run.pk) if row.run is not None else row.actor
    kind = "change" if is_accepted else "refused"
    detail = f"/{command.name}: {text}"
    record(Entry(kind, _name_actor(event, forge), name, "comment", target, row.actor, detail))


def _react(row: PullRequest, event: CommentEvent, *, is_accepted: bool) -> None:
    state = ACCEPTED if is_accepted else REFUSED
    wanted = {"comment": event.comment_id, "state": state, "text": f"the command is {state}"}
    OutgoingMessage.objects.want(row, f"{REACTION}{event.comment_id}", wanted)


def _name_actor(event: CommentEvent, forge: Forge) -> str:
    """Return the linked user's name, else the account's with its forge, which no user can have."""
    user = find_user(forge.settings.forge, event.login)
    return user.get_username() if user else f"{event.login} on {forge.settings.forge}"


def _preview(config: Config, forge: Forge, row: PullRequest) -> str:
    if row.state != PullRequestState.OPEN:
        raise Refused("not_open", "The pull request is not open.")
    row.is_commanded = True
    PullRequest.objects.filter(pk=row.pk).update(is_commanded=True)
    return pull_requests.apply(config, forge, row, is_request=True).reason


def _require_run(row: PullRequest) -> Run:
    if row.run is None:
        raise Refused("no_run", "The pull request has no run: comment /preview first.")
    return row.run


def _require_allowed(row: PullRequest, name: str) -> Run:
    """Return the run if the action is allowed now, as the admin's buttons and the API have it.

    Who may write to the repository may do with its runs what their creators may.
    """
    run = presenters.select_runs().get(pk=_require_run(row).pk)
    facts = allowed_actions.read_facts(run, owner=None)
    state = allowed_actions.decide_action(name, facts, frozenset({HOLD}))
    if not state.allowed:
        raise Refused("action_not_allowed", state.reason)
    return run


def _keep(row: PullRequest, actor: str, command: Command) -> str:
    seconds = parse_duration(command.argument) if command.argument else None
    if command.argument and seconds is None:
        raise Refused("duration_invalid", "Write the duration as 30m, 8h or 2d.")
    wanted = seconds if seconds is not None else settings.PREVIEW_KEEP_SECONDS
    until = operations.keep(_require_allowed(row, "keep"), actor=actor, seconds=wanted)
    return f"The preview is kept until {until:%Y-%m-%d %H:%M} UTC."


def _cancel(row: PullRequest, actor: str, command: Command) -> str:
    PullRequest.objects.filter(pk=row.pk).update(is_commanded=False)
    operations.cancel(
        _require_allowed(row, "cancel"), actor=actor, reason=f"/cancel in {row.actor}"
    )
    return "The run ends."


def _retry(row: PullRequest, actor: str, command: Command) -> str:
    if row.state != PullRequestState.OPEN:
        raise Refused("not_open", "The pull request is not open.")
    if row.is_fork and row.allowed_sha != row.head_sha:
        raise Refused("not_allowed", "An operator must allow the commit first.")
    child = operations.retry(_require_allowed(row, "retry"), actor=actor)
    PullRequest.objects.filter(pk=row.pk).update(run=child)
    return f"A new run of {child.commit_sha[:12]} is started."


RUN_COMMANDS: dict[str, Callable[[PullRequest, str, Command], str]] = {
    "keep": _keep,
    "cancel": _cancel,
    "retry": _retry,
}


def _ship(row: PullRequest, event: CommentEvent, command: Command) -> str:
    """Approve the run's commit, which the comment names: what the person has seen."""
    user = require_approver(row, event.author, event.login)
    run, sha = _require_run(row), command.argument.lower()
    if len(sha) < SHA_LENGTH:
        hint = f"/ship {run.commit_sha[:12]}"
        raise Refused("commit_required", f"Name the commit that you looked at: {hint}")
    if not run.commit_sha.startswith(sha) or row.head_sha != run.commit_sha:
        detail = f"The pull request is at {row.head_sha[:12]}, and the preview shows "
        raise Refused("commit_moved", f"{detail}{run.commit_sha[:12]}: look at it again.")
    return approve(run, user, f"/ship in {row.actor}")
