"""Finding what is to be told, from the rows of runs, slots and releases.

Nothing that runs do knows of notifications: they are computed from the timeline, the leases and the
deployments afterwards, so that they can neither delay a run nor be lost with a process.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Max

from core.clock import format_minute, get_database_time
from host.config import Config
from notifications.models import Cursor, Notification, Target
from notifications.rules import (
    EXPIRES_SOON,
    LEAST_GRANT,
    QUIET_FOR,
    TIMELINE_KINDS,
    Notice,
    NotificationEvent,
    RunFacts,
    build_payload,
    matches,
    name_events,
)
from releases.models import Deployment
from releases.rules import DeploymentKind, DeploymentOutcome
from runs.comments.rules import find_mentions
from runs.models import Approval, Comment, Event, Run
from runs.presenters import build_run_url
from slots.models import Lease
from slots.rules import LeaseState
from web.permissions import VIEW, get_abilities

# Transactions that were open for longer than this when a later event was read would be overlooked.
OVERLAP = timedelta(seconds=60)
LOOK_BACK = timedelta(hours=1)
KEPT = timedelta(days=30)
ROWS_AT_ONCE = 500
NAME_LENGTH = 150  # of Django's user names


@transaction.atomic
def collect(config: Config) -> None:
    """Store the notifications of what has happened since the last time, one for each target."""
    targets = list(Target.objects.filter(is_enabled=True).select_related("owner"))
    if not targets:
        Cursor.objects.all().delete()
        return
    cursor, at = lock_cursor(), get_database_time()
    events, allowed = _read_events(cursor), [one for one in targets if _may_learn(one)]
    notices = [
        *_describe_events(config, events),
        *_describe_rollbacks(config, at),
        *_describe_expiries(config, at),
        *_describe_mentions(config, events),
    ]
    # Of most of them the targets were told a second ago: one query for all.
    sources = {notice.source for _, notice in notices}
    rows = Notification.objects.filter(source__in=sources)
    known = set(rows.values_list("target", "source"))
    for happened_at, notice in notices:
        _tell([one for one in allowed if (one.pk, notice.source) not in known], happened_at, notice)
    _move_cursor(cursor, events, at)


def lock_cursor() -> Cursor:
    """Return the cursor; a new one begins with the next event.

    Whatever adds or enables a target calls it in the same transaction.
    """
    row = Cursor.objects.select_for_update().first()
    if row is not None:
        return row
    last = Event.objects.aggregate(last=Max("pk"))["last"] or 0
    return Cursor.objects.create(event_id=last)


def remove_old(config: Config) -> None:
    """Delete the notifications of more than 30 days ago."""
    Notification.objects.filter(wanted_at__lt=get_database_time() - KEPT).delete()


def _move_cursor(cursor: Cursor, events: list[Event], at: datetime) -> None:
    # Ids are given before the commit: an event with a lower one may become visible later.
    over = [event.pk for event in events if event.at < at - OVERLAP]
    if over:
        Cursor.objects.filter(pk=cursor.pk).update(event_id=max(over))


def _read_events(cursor: Cursor) -> list[Event]:
    rows = Event.objects.filter(pk__gt=cursor.event_id).order_by("pk")
    return list(rows.select_related("run")[:ROWS_AT_ONCE])


def _may_learn(target: Target) -> bool:
    """Return whether the person whose target it is may still see what it says."""
    owner = target.owner
    return owner is None or (owner.is_active and VIEW in get_abilities(owner))


def _tell(targets: list[Target], at: datetime, notice: Notice) -> None:
    for target in targets:
        if notice.person and (target.owner is None or target.owner.username != notice.person):
            continue
        if at < target.created_at or not matches(
            notice.event, notice.branch, target.events, target.branches
        ):
            continue
        if not _is_duplicate(target, at, notice):
            store(target, at, notice)


def _is_duplicate(target: Target, at: datetime, notice: Notice) -> bool:
    same = Notification.objects.filter(target=target, event=notice.event, subject=notice.subject)
    return same.filter(wanted_at__gt=at - QUIET_FOR).exists()


def store(target: Target, at: datetime, notice: Notice) -> Notification:
    """Have the target told; it is sent within a second."""
    now = get_database_time()
    return Notification.objects.create(
        target=target,
        event=notice.event,
        source=notice.source,
        subject=notice.subject,
        title=notice.title,
        text="\n\n".join(part for part in (notice.text, notice.url) if part),
        payload=build_payload(notice, at.isoformat()),
        wanted_at=now,
        due_at=now,
    )


def _describe_events(config: Config, events: list[Event]) -> Iterator[tuple[datetime, Notice]]:
    wanted = [event for event in events if event.kind in TIMELINE_KINDS]
    approvals = _count_approvals([event.run_id for event in wanted if event.run_id])
    for event in wanted:
        run = event.run
        facts = _read_run_facts(run, approvals.get(run.pk, 0)) if run is not None else None
        for name, detail in name_events(event.kind, facts):
            yield event.at, _describe_event(config, event, name, detail)


def _count_approvals(run_ids: list[Any]) -> dict[Any, int]:
    valid = Approval.objects.valid().filter(run__in=run_ids).order_by()
    return dict(valid.values_list("run").annotate(number=Count("pk")))


def _read_run_facts(run: Run, approvals: int) -> RunFacts | None:
    if not run.prepare:  # a reservation: a program holds it, and knows
        return None
    return RunFacts(run.status, run.failure_code, run.generation, approvals)


def _describe_event(config: Config, event: Event, name: str, detail: str) -> Notice:
    run = event.run
    about = str(run.pk) if run is not None else event.slot_id
    # What no run or slot is about differs by its text.
    subject = f"{about or event.text[:100]} {detail}"
    data: dict[str, Any] = {"actor": event.actor}
    if event.slot_id:
        data["slot"] = event.slot_id
    if run is not None:
        data |= _build_run_data(run)
    return Notice(
        source=f"event {event.pk} {name}",
        event=name,
        subject=subject,
        branch=run.branch if run is not None else "",
        text=event.text,
        data=data,
        url=build_run_url(config, run.pk) if run is not None else config.admin_url,
    )


def _build_run_data(run: Run) -> dict[str, Any]:
    """Return what a webhook's message says of a run."""
    return {
        "run_id": str(run.pk),
        "title": run.title,
        "branch": run.branch,
        "commit": run.commit_sha,
        "status": run.status,
        "failure_code": run.failure_code,
    }


def _describe_rollbacks(config: Config, at: datetime) -> Iterator[tuple[datetime, Notice]]:
    rows = Deployment.objects.filter(kind=DeploymentKind.ROLLBACK, ended_at__gt=at - LOOK_BACK)
    for row in rows.order_by("pk"):
        is_done = row.outcome == DeploymentOutcome.SUCCEEDED
        how = "serves" if is_done else f"does not serve: the rollback is {row.outcome}"
        text = f"{row.actor} rolled back: release {row.release_id} {how}. {row.reason}"
        data = {"actor": row.actor, "release": row.release_id, "outcome": row.outcome}
        url = f"{config.admin_url}releases/deployment/{row.pk}/change/"
        name = f"deployment {row.pk}"
        notice = Notice(name, NotificationEvent.ROLLED_BACK, name, "", text.strip(), data, url)
        yield row.ended_at or at, notice


def _describe_expiries(config: Config, at: datetime) -> Iterator[tuple[datetime, Notice]]:
    rows = Lease.objects.filter(
        state=LeaseState.HELD,
        is_pinned=False,
        run__prepare=True,
        expires_at__lte=at + EXPIRES_SOON,
        expires_at__gte=F("granted_at") + LEAST_GRANT,
    )
    for lease in rows.select_related("run", "slot"):
        expires_at, run = lease.expires_at or at, lease.run
        slot, until = str(lease.slot), format_minute(expires_at)
        text = f"{slot} is released at {until}. Keep it on the run's page, or approve the run."
        name = f"lease {lease.pk} {expires_at.isoformat()}"
        data = {**_build_run_data(run), "slot": slot, "expires_at": expires_at.isoformat()}
        url, event = build_run_url(config, run.pk), NotificationEvent.EXPIRING
        yield at, Notice(name, event, name, run.branch, text, data, url)


def _describe_mentions(config: Config, events: list[Event]) -> Iterator[tuple[datetime, Notice]]:
    commented = [event for event in events if event.kind == "commented"]
    if not commented:
        return
    # A comment is written in one transaction with its event.
    since = min(event.at for event in commented) - OVERLAP
    rows = Comment.objects.filter(run__in={event.run_id for event in commented}, at__gt=since)
    for comment in rows.select_related("run").order_by("pk"):
        run, text = comment.run, f"{comment.actor} on {comment.place}: {comment.text}"
        data = {**_build_run_data(run), "actor": comment.actor, "comment_id": comment.pk}
        url, source = f"{build_run_url(config, run.pk)}#comments", f"comment {comment.pk}"
        for name in find_mentions(comment.text):
            subject, event = f"{run.pk} {name[:NAME_LENGTH]}", NotificationEvent.MENTIONED
            if name != comment.actor:
                # Told of every branch: it is the person who is meant.
                yield comment.at, Notice(source, event, subject, "", text, data, url, name)


def store_test(config: Config, target: Target, *, actor: str, number: str) -> Notification:
    """Have the target sent a notification that says that it is a test."""
    at = get_database_time()
    text = f"{actor} tests the target {target.name} of {settings.HOST_NAME}."
    source = f"test {number}"
    notice = Notice(source, "test", source, "", text, {"actor": actor}, config.admin_url)
    return store(target, at, notice)
