"""What the charts show: four aggregates, each of which the database computes in one query."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import Aggregate, Count, DurationField, F, Min, Q, Sum, Value
from django.db.models.functions import Coalesce, Greatest, Least, TruncDay
from django.utils import timezone

from releases.models import Deployment
from releases.rules import DeploymentKind, DeploymentOutcome
from runs.models import Run
from runs.rules import Status
from slots.models import Slot

DAYS = 30
UNSUCCESSFUL = (DeploymentOutcome.FAILED, DeploymentOutcome.RESTORED, DeploymentOutcome.STUCK)


class Percentile(Aggregate):
    """PostgreSQL's percentile_cont of durations; `share` is between 0 and 1."""

    function = "percentile_cont"
    template = "%(function)s(%(share)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()


@dataclass(frozen=True)
class Day:
    """The runs that were merged, and the deployments that began, on a day of the reader's zone.

    `lead` is the median time from a run's creation to its end as merged; None without one.
    """

    date: date
    merged: int = 0
    lead: timedelta | None = None
    deployed: int = 0
    failed: int = 0
    rolled_back: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.merged or self.deployed or self.failed or self.rolled_back)


@dataclass(frozen=True)
class Figures:
    """The last 30 days, until now.

    `lead` is the median of all merged runs and `slow_lead` what 95 % of them did not exceed; None
    without one. `failures` are the failed runs by code, the most frequent first; `slots` the share
    of the time, from 0 to 1, that each slot was held, since the first lease if that is later.
    """

    days: list[Day]
    merged: int
    lead: timedelta | None
    slow_lead: timedelta | None
    failures: list[tuple[str, int]]
    slots: list[tuple[str, float]]


def read_figures(at: datetime) -> Figures:
    """Return the figures at the database's time `at`: five queries."""
    start = _find_start(at)
    merged = _select_merged(start).aggregate(
        number=Count("*"), lead=Percentile(_LEAD, share=0.5), slow=Percentile(_LEAD, share=0.95)
    )
    return Figures(
        days=_list_days(start),
        merged=merged["number"],
        lead=merged["lead"],
        slow_lead=merged["slow"],
        failures=_count_failures(start),
        slots=_read_slot_use(start, at),
    )


_LEAD = F("ended_at") - F("created_at")


def _find_start(at: datetime) -> datetime:
    """Return the first moment of the first day, in the reader's zone."""
    first = timezone.localdate(at) - timedelta(days=DAYS - 1)
    return timezone.make_aware(datetime(first.year, first.month, first.day))


def _select_merged(start: datetime) -> Any:
    return Run.objects.filter(status=Status.MERGED, ended_at__gte=start).order_by()


def _list_days(start: datetime) -> list[Day]:
    merged = _select_merged(start).annotate(day=TruncDay("ended_at")).values("day")
    begun = Deployment.objects.filter(started_at__gte=start).order_by()
    done = Q(outcome=DeploymentOutcome.SUCCEEDED)
    by_day: dict[date, dict[str, Any]] = {}
    for row in (
        *merged.annotate(merged=Count("*"), lead=Percentile(_LEAD, share=0.5)),
        *begun.annotate(day=TruncDay("started_at"))
        .values("day")
        .annotate(
            deployed=Count("pk", filter=done & Q(kind=DeploymentKind.DEPLOY)),
            failed=Count("pk", filter=Q(outcome__in=UNSUCCESSFUL)),
            rolled_back=Count("pk", filter=done & Q(kind=DeploymentKind.ROLLBACK)),
        ),
    ):
        by_day.setdefault(row.pop("day").date(), {}).update(row)
    return list(_fill_days(start.date(), by_day))


def _fill_days(first: date, by_day: Mapping[date, Mapping[str, Any]]) -> Iterator[Day]:
    for number in range(DAYS):
        day = first + timedelta(days=number)
        yield Day(day, **by_day.get(day, {}))


def _count_failures(start: datetime) -> list[tuple[str, int]]:
    failed = Run.objects.filter(status=Status.FAILED, ended_at__gte=start)
    counted = failed.values("failure_code").annotate(number=Count("*"))
    return list(counted.order_by("-number", "failure_code").values_list("failure_code", "number"))


def _read_slot_use(start: datetime, at: datetime) -> list[tuple[str, float]]:
    end = Least(Coalesce("leases__ended_at", Value(at)), Value(at))
    held = Greatest(end - Greatest("leases__granted_at", Value(start)), Value(timedelta()))
    rows = list(
        Slot.objects.order_by("host", "number").annotate(
            # A slot without leases has one row, in which all of a lease is NULL.
            held=Sum(held, filter=Q(leases__granted_at__isnull=False)),
            first=Min("leases__granted_at"),
        )
    )
    first = min((row.first for row in rows if row.first is not None), default=at)
    seconds = (at - max(start, first)).total_seconds()
    has_hosts = len({row.host for row in rows}) > 1
    return [
        (
            f"{row.host} {row.slot_id}" if has_hosts else row.slot_id,
            row.held.total_seconds() / seconds if row.held and seconds > 0 else 0.0,
        )
        for row in rows
    ]
