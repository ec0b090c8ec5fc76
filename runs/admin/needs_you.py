"""What waits for a person on the dashboard, by role; and the first steps of a new install."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q
from django.urls import reverse

from accounts.models import ApiToken
from host.operator_settings import run_time
from runs.comments.rules import find_mentions
from runs.leasing.queue_status import SlotStatus
from runs.models import Comment, Freeze, Run
from runs.rules import Status
from slots.rules import LeaseState, SlotState
from web.permissions import APPROVE, HOLD, OPERATE

# How long before its end a lease of one's own run needs its creator, and how long a failure does.
EXPIRING = timedelta(hours=1)
FAILED_FOR = timedelta(days=7)


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person: `state` decides the colour of `label`."""

    state: str
    label: str
    text: str
    url: str
    until: datetime | None = None


@dataclass(frozen=True)
class DashboardFacts:
    """What the dashboard shows, from which the needs follow."""

    at: datetime
    slots: Sequence[SlotStatus] = ()
    own_failures: Sequence[Run] = ()
    freezes: Sequence[Freeze] = ()
    unpushed_count: int = 0
    expiring_tokens: Iterable[ApiToken] = ()
    refusal: str = ""
    merged_commits: frozenset[str] = field(default_factory=frozenset)
    mentions: Sequence[Comment] = ()


def list_needs(person: str, abilities: frozenset[str], facts: DashboardFacts) -> list[Need]:
    """Return what waits for the person, the most urgent first."""
    return [
        *(_list_operator_needs(facts) if OPERATE in abilities else ()),
        *(_list_reviews(facts) if APPROVE in abilities else ()),
        *_list_mentions(facts),
        *(_list_own_needs(person, facts) if HOLD in abilities else ()),
    ]


def _list_operator_needs(facts: DashboardFacts) -> Iterator[Need]:
    if facts.refusal:
        url = reverse("admin:slots_slot_changelist")
        yield Need("failed", "Host is short", facts.refusal, url)
    for freeze in facts.freezes:
        url = reverse("admin:runs_run_unfreeze")
        yield Need("failed", "Frozen", f"Shipping, by {freeze.actor}: {freeze.reason}", url)
    for status in facts.slots:
        if status.state == SlotState.QUARANTINED:
            text = f"{status.slot.slot_id}: {status.slot.quarantine_reason}"
            url = reverse("admin:slots_slot_change", args=[status.slot.pk])
            yield Need("quarantined", "Quarantined", text, url)
    if facts.unpushed_count:
        commits = "commit is" if facts.unpushed_count == 1 else "commits are"
        text = f"{facts.unpushed_count} merged {commits} not on the remote"
        yield Need("warning", "Unpushed", text, reverse("admin:runs_run_push"))
    for token in facts.expiring_tokens:
        url = reverse("admin:accounts_apitoken_change", args=[token.pk])
        yield Need("warning", "Token expires", token.name, url, token.expires_at)


def _list_reviews(facts: DashboardFacts) -> Iterator[Need]:
    for status in facts.slots:
        run = status.lease.run if status.lease is not None else None
        is_ready = run is not None and run.status == Status.PREVIEW_READY and not run.stop_status
        if run is not None and is_ready and run.commit_sha not in facts.merged_commits:
            yield Need("preview_ready", "Ready for review", f"{run} by {run.created_by}", _url(run))


def _list_mentions(facts: DashboardFacts) -> Iterator[Need]:
    for comment in facts.mentions:
        text = f"{comment.run}, {comment.actor}: {comment.text}"
        yield Need("warning", "Mentioned", text, f"{_url(comment.run)}#comments")


def _list_own_needs(person: str, facts: DashboardFacts) -> Iterator[Need]:
    for status in facts.slots:
        lease = status.lease
        if lease is None or lease.state != LeaseState.HELD or lease.is_pinned:
            continue
        is_soon = lease.expires_at is not None and lease.expires_at - facts.at <= EXPIRING
        if is_soon and lease.run.created_by == person:
            yield Need("warning", "Expires soon", str(lease.run), _url(lease.run), lease.expires_at)
    for run in facts.own_failures:
        yield Need("failed", "Failed", f"{run}: {run.failure_code}", _url(run))


def _url(run: Run) -> str:
    return reverse("admin:runs_run_change", args=[run.pk])


def list_own_failures(person: str, at: datetime, limit: int) -> list[Run]:
    """Return the person's runs that failed lately, and whose branch has no newer run: one query."""
    failed = Run.objects.filter(
        status=Status.FAILED, created_by=person, ended_at__gte=at - FAILED_FOR, children=None
    )
    newer = Run.objects.filter(branch=OuterRef("branch"), created_at__gt=OuterRef("created_at"))
    return list(failed.exclude(~Q(branch="") & Exists(newer))[:limit])


def list_mentions(person: str, slots: Sequence[SlotStatus]) -> list[Comment]:
    """Return the open comments on the slots' runs that mention the person: one query at most."""
    runs = [status.lease.run_id for status in slots if status.lease is not None]
    if not runs:
        return []
    likely = Comment.objects.filter(run__in=runs, resolved_at=None, text__contains=f"@{person}")
    found = likely.exclude(actor=person).select_related("run").order_by("-pk")
    return [comment for comment in found if person in find_mentions(comment.text)]


def find_merged_commits(slots: Sequence[SlotStatus]) -> frozenset[str]:
    """Return the commits of the slots' ready runs that another run merged: one query at most."""
    runs = [status.lease.run for status in slots if status.lease is not None]
    commits = [run.commit_sha for run in runs if run.status == Status.PREVIEW_READY]
    if not commits:
        return frozenset()
    merged = Run.objects.filter(status=Status.MERGED, commit_sha__in=commits)
    return frozenset(merged.values_list("commit_sha", flat=True))


@dataclass(frozen=True)
class FirstStep:
    """One line of the checklist of a new install."""

    text: str
    url: str
    is_done: bool


def list_first_steps(
    *,
    has_remote: bool,
    has_release: bool,
    has_people: Callable[[], bool],
    has_preview: bool,
    has_push_mode: bool,
    has_forge: bool,
) -> list[FirstStep]:
    """Return the checklist; [] once a release is live that was previewed before."""
    if has_release and has_preview:
        return []
    return [
        FirstStep("Set the repository: GIT_REMOTE_URL in the env files", "", has_remote),
        FirstStep("Make a person with a role", reverse("admin:auth_user_add"), has_people()),
        FirstStep("Preview a branch", reverse("admin:runs_run_new"), has_preview),
        FirstStep(
            "Ship a first release: approve a preview",
            reverse("admin:runs_run_changelist"),
            has_release,
        ),
        FirstStep(
            "Choose who pushes: MERGE_GATE_GIT_PUSH_MODE",
            reverse("admin-setting-change", args=[run_time.PUSH_MODE]),
            has_push_mode,
        ),
        FirstStep("Have the forge send its webhook: FORGE in the env files", "", has_forge),
    ]
