"""Doing what `rules.decide` says about a pull request, by the functions of the API."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings as django_settings
from django.db import transaction

from forges.adapters.forge import Forge, PullRequestFacts, PullRequestState
from forges.forge_settings import ForgeSettings, read_forge_settings
from forges.models import PullRequest, to_columns
from forges.rules import (
    Decision,
    DeliveryDecision,
    Effect,
    Policy,
    RunFacts,
    Trust,
    decide,
    find_reason_against,
    find_reason_to_wait,
    matches_paths,
)
from host.config import Config
from host.errors import Refused
from host.files.file_lock import file_lock
from host.visible_text import make_line_visible
from runs.addresses.views import NamedPullRequest
from runs.lifecycle import branch_watch, finish, operations
from runs.models import Run
from runs.repository import open_repository
from runs.rules import SHIPPING

TITLE_LENGTH = 200


@dataclass(frozen=True)
class Outcome:
    """What a delivery or a pull request led to, with the reason as a sentence."""

    decision: DeliveryDecision
    reason: str
    pull_request: PullRequest | None = None
    run: Run | None = None


@contextmanager
def lock(config: Config) -> Iterator[bool]:
    """Have one process of this host act on pull requests at a time."""
    with file_lock(config.var / "run" / "forges.lock", seconds=0) as is_taken:
        yield is_taken


def record_facts(settings: ForgeSettings, facts: PullRequestFacts) -> tuple[PullRequest, bool]:
    """Store a description of a pull request, unless a later one is stored.

    Returns the row, and whether the description is later than the one before.
    """
    key = {
        "forge": settings.forge,
        "repository": settings.repository,
        "number": facts.number,
    }
    with transaction.atomic():
        rows = PullRequest.objects.select_for_update()
        row, is_new = rows.get_or_create(**key, defaults=to_columns(facts))
        is_news = is_new or facts.updated_at > row.described_at
        if is_new or facts.updated_at >= row.described_at:
            columns = to_columns(facts)
            if facts.has_access is None and _is_same_code(facts, row):
                del columns["has_access"]
            PullRequest.objects.filter(pk=row.pk).update(**columns)
            row.refresh_from_db()
    return row, is_news


def _is_same_code(facts: PullRequestFacts, row: PullRequest) -> bool:
    # Access may be taken from a person: it is asked for again with each new head.
    return (facts.author, facts.head_sha) == (row.author, row.head_sha)


def apply_due(config: Config, forge: Forge) -> None:
    """Decide the pull requests that are to be decided again."""
    settings = forge.settings
    rows = PullRequest.objects.filter(forge=settings.forge, repository=settings.repository)
    for row in rows.filter(is_due=True):
        PullRequest.objects.filter(pk=row.pk).update(is_due=False)
        try:
            apply(config, forge, row, is_request=False)
        except Refused as refused:
            PullRequest.objects.filter(pk=row.pk).update(reason=refused.detail)


def apply(config: Config, forge: Forge, row: PullRequest, *, is_request: bool) -> Outcome:
    """Decide about the pull request as the row describes it, and do it. Raises Refused."""
    settings = forge.settings
    policy = Policy(settings.policy, settings.label, settings.target_branch)
    _read_access(forge, row, policy)
    trust = Trust(bool(row.has_access), row.allowed_sha)
    row.run = find_run(row)
    decision = decide(
        row.facts,
        policy,
        _describe_run(row),
        trust,
        is_request=is_request or row.is_requested,
        is_commanded=row.is_commanded,
    )
    is_asked_for = settings.label in row.labels or row.is_commanded
    if decision.effect == Effect.START and not is_asked_for:
        decision = _check_paths(config, forge, row, decision)
    decision, is_requested = _check_wait(forge, row, decision)
    # Recorded first: if what follows is refused, the row says what was tried.
    PullRequest.objects.filter(pk=row.pk).update(
        effect=decision.effect,
        reason=decision.reason,
        run=row.run,
        is_requested=is_requested,
    )
    run = _make_effect(config, forge, row, decision)
    PullRequest.objects.filter(pk=row.pk).update(run=run)
    has_acted = decision.effect in (Effect.START, Effect.FOLLOW, Effect.END)
    outcome = DeliveryDecision.ACTED if has_acted else DeliveryDecision.IGNORED
    return Outcome(outcome, decision.reason, row, run)


def _check_paths(config: Config, forge: Forge, row: PullRequest, decision: Decision) -> Decision:
    """Return the decision to start a run, unless the pull request changes nothing of the paths.

    Its label asks for a preview whatever it changes.
    """
    patterns = forge.settings.paths
    if not patterns:
        return decision
    repo = open_repository(config)
    _fetch_head(config, forge, row)
    target = repo.find_branch_head(row.base_branch)
    base = repo.find_merge_base(target, row.head_sha) if target is not None else None
    if base is None or matches_paths(repo.list_changed_files(base, row.head_sha), patterns):
        return decision
    return Decision(Effect.LEAVE, f"It changes nothing in PREVIEW_PATHS: {' '.join(patterns)}.")


def _check_wait(forge: Forge, row: PullRequest, decision: Decision) -> tuple[Decision, bool]:
    """Return the decision, unless a preview that is to start has to wait; and whether it has."""
    if decision.effect != Effect.START:
        return decision, False
    settings = forge.settings
    others = PullRequest.objects.filter(
        forge=row.forge, repository=row.repository, author=row.author, run__ended_at=None
    )
    previews = others.exclude(pk=row.pk).exclude(run=None).count()
    needs_checks = settings.required_checks and settings.has_token
    checks = forge.list_checks(row.head_sha) if needs_checks else {}
    reason = find_reason_to_wait(
        row.author, previews, settings.per_author, settings.required_checks, checks
    )
    return (Decision(Effect.LEAVE, reason), True) if reason else (decision, False)


def _fetch_head(config: Config, forge: Forge, row: PullRequest) -> None:
    """Fetch the head unless it is here; that of a fork is no branch of the remote."""
    repo = open_repository(config)
    if repo.has_commit(row.head_sha):
        return
    if row.is_fork:
        repo.fetch_ref(config.git_remote_url, forge.head_ref(row.number))
    else:
        repo.fetch(config.git_remote_url)
    repo.require_commit(row.head_sha)


def _read_access(forge: Forge, row: PullRequest, policy: Policy) -> None:
    """Ask the forge whether the author may write, if that decides something and is not known."""
    is_open = row.state == PullRequestState.OPEN
    decides = (
        is_open
        and not row.is_fork
        and not find_reason_against(row.facts, policy, is_commanded=row.is_commanded)
    )
    if not decides or row.has_access is not None or not forge.settings.has_token:
        return
    row.has_access = forge.has_write_access(row.author)
    PullRequest.objects.filter(pk=row.pk).update(has_access=row.has_access)


def find_run(row: PullRequest) -> Run | None:
    """Return the pull request's open run, else its latest.

    A person may have retried its run, or made one for its branch.
    """
    if row.run is not None and not row.run.is_final:
        return row.run
    open_runs = Run.objects.unfinished().filter(prepare=True)
    if row.is_fork:  # its branch may have the name of one of the repository's own
        same = open_runs.filter(parent=row.run, parent__isnull=False)
    else:
        same = open_runs.filter(branch=row.head_branch)
    return same.order_by("-created_at").first() or row.run


def find_named(number: int) -> NamedPullRequest | None:
    """Return what the host name `pr-<number>` leads to; None without such a pull request."""
    settings = read_forge_settings(django_settings.OROBOROS)
    if settings is None:
        return None
    own = {"forge": settings.forge, "repository": settings.repository}
    row = PullRequest.objects.filter(**own, number=number).select_related("run").first()
    return NamedPullRequest(find_run(row), row.reason) if row is not None else None


def _describe_run(row: PullRequest) -> RunFacts | None:
    run = row.run
    if run is None:
        return None
    return RunFacts(
        status=run.status,
        commit_sha=run.commit_sha,
        is_open=not run.is_final and not run.stop_status,
        is_ours=run.created_by == row.actor,
        is_approved=run.status in SHIPPING,
        is_bound=not run.branch,
        can_stop=not finish.is_too_late_to_stop(run),
    )


def _make_effect(config: Config, forge: Forge, row: PullRequest, decision: Decision) -> Run | None:
    if decision.effect == Effect.START:
        return _start_run(config, forge, row)
    if decision.effect == Effect.FOLLOW:
        branch_watch.watch_branches()
    if decision.effect == Effect.END and row.run is not None:
        operations.cancel(
            row.run, actor=row.actor, reason=decision.reason, code=decision.failure_code
        )
    return row.run


def _start_run(config: Config, forge: Forge, row: PullRequest) -> Run:
    title = make_line_visible(f"#{row.number} {row.title}")[:TITLE_LENGTH]
    needs_commit = row.allowed_sha == row.head_sha
    if not needs_commit:
        run, _ = operations.request_run(title=title, actor=row.actor, branch=row.head_branch)
        return run
    # Of that commit and no other: the head of a fork may be another one in a moment.
    if row.run is not None and not row.run.is_final and not row.run.stop_status:
        reason = f"The pull request is at {row.head_sha[:12]} now."
        operations.cancel(row.run, actor=row.actor, reason=reason)
    _fetch_head(config, forge, row)
    run, _ = operations.request_run(title=title, actor=row.actor, commit=row.head_sha)
    return run
