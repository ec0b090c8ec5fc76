"""The periodic tasks that django-q2 runs by its schedules. See docs/decisions/0015."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, transaction
from django_q.models import Schedule

from core import outages
from core.clock import ClockTimestamp, get_database_time
from host.config import Config
from host.errors import Refused
from host.files.file_lock import file_lock
from runs.engine.events import WORKER, record_event
from runs.leasing import reaper
from runs.lifecycle import branch_watch, reconciler, retention
from runs.models import Heartbeat

log = logging.getLogger(__name__)

FUNCTION = "runs.lifecycle.schedules.run_scheduled_task"
# A schedule that the queue has not run for so many of its intervals is overdue. django-q2 looks at
# its schedules every 30 s, so one of a minute may well be half an interval late.
OVERDUE_INTERVALS = 3
# A running task also runs what is due after this share of its interval: see run_scheduled_task.
DUE_SHARE = 0.75
DETAIL_LENGTH = 500
FAILED = "failed: "


@dataclass(frozen=True)
class ScheduledTask:
    """What a schedule runs. `run` returns what it did, in a few words."""

    name: str
    minutes: int
    run: Callable[[Config], str]

    @property
    def interval(self) -> timedelta:
        return timedelta(minutes=self.minutes)

    @property
    def last_run_name(self) -> str:
        """The name of the row with the time and the outcome of the last run."""
        return f"schedule:{self.name}"

    @property
    def overdue_name(self) -> str:
        """The name of the row that exists while the queue does not run the schedule."""
        return f"overdue:{self.name}"

    def is_overdue(self) -> bool:
        """Return whether the supervisor runs the task, because the queue does not."""
        return Heartbeat.objects.filter(name=self.overdue_name).exists()


def _reap(config: Config) -> str:
    return f"{len(reaper.reap_expired().slot_ids)} leases ended"


def _reconcile(config: Config) -> str:
    differences = reconciler.reconcile(config)
    return "; ".join([f"{len(differences)} differences", *differences])


def _watch_branches(config: Config) -> str:
    return f"{len(branch_watch.watch_branches())} runs have a new commit"


def _remove_unneeded(config: Config) -> str:
    removals = retention.remove_unneeded(config)
    return "; ".join([f"{len(removals)} removed", *removals])


# The longest come last: what is due is run in this order.
SCHEDULED_TASKS = (
    ScheduledTask("reaper", 1, _reap),
    ScheduledTask("reconciler", 1, _reconcile),
    ScheduledTask("branch-watch", 1, _watch_branches),
    ScheduledTask("retention", 60, _remove_unneeded),
)
BY_NAME = {task.name: task for task in SCHEDULED_TASKS}


@transaction.atomic
def sync_schedules() -> list[str]:
    """Create or update this host's schedules. Returns the names of the new ones.

    Obsolete schedules of ours are deleted. The time of a schedule's next run is not changed.
    """
    cluster = settings.Q_CLUSTER["name"]
    # Locked: `setup` and the start of a cluster may run this at the same time.
    ours = Schedule.objects.select_for_update().filter(func=FUNCTION, cluster=cluster)
    rows = _delete_obsolete(ours.order_by("pk"))
    for task in SCHEDULED_TASKS:
        row = rows.get(task.name, Schedule(name=task.name, func=FUNCTION, cluster=cluster))
        # -1: without a limit.
        row.args, row.repeats = repr((task.name,)), -1
        row.schedule_type, row.minutes = Schedule.MINUTES, task.minutes
        row.save()
    return [name for name in BY_NAME if name not in rows]


def _delete_obsolete(schedules: Iterable[Schedule]) -> dict[str, Schedule]:
    """Delete the schedules without a task and duplicates; return the others by name."""
    rows: dict[str, Schedule] = {}
    for row in schedules:
        # django-q2 has no unique names: a second row of a name would run the task twice.
        if row.name not in BY_NAME or row.name in rows:
            row.delete()
        else:
            rows[row.name] = row
    return rows


def run_scheduled_task(name: str) -> str:
    """Run the task `name` in a queue worker, then the others that are due.

    One process of the host does this at a time, so that scheduled tasks occupy one queue worker at
    most and the others stay free for runs. A task that finds another one running returns at once:
    the running process runs it too, unless it is past that task: then it runs a minute later.
    """
    config = settings.OROBOROS
    with file_lock(config.var / "run" / "schedules.lock", seconds=0) as is_taken:
        if not is_taken:
            return "left to the scheduled task that is running"
        outcomes = [f"{name}: {_run_in_queue(config, BY_NAME[name])}"]
        for task in SCHEDULED_TASKS:
            if task.name != name and _is_due(task):
                outcomes.append(f"{task.name}: {_run_in_queue(config, task)}")
    return "\n".join(outcomes)


def _run_in_queue(config: Config, task: ScheduledTask) -> str:
    detail = _run(config, task)
    with transaction.atomic():
        if Heartbeat.objects.filter(name=task.overdue_name).delete()[0]:
            text = f"the queue runs the schedule {task.name} again"
            record_event("schedule_recovered", text, actor=WORKER)
    return detail


def _run(config: Config, task: ScheduledTask, suffix: str = "") -> str:
    """Run the task, and store the time and the outcome of this run. Returns the outcome.

    A refusal or an error of the operating system is an outcome too: the next run tries again.
    """
    try:
        detail = task.run(config)
    except (Refused, OSError, DatabaseError) as error:
        detail = f"{FAILED}{error}"
        _report_failure(task, detail, error)
    detail = detail[:DETAIL_LENGTH] + suffix
    Heartbeat.objects.update_or_create(
        name=task.last_run_name, defaults={"at": ClockTimestamp(), "detail": detail}
    )
    return detail


def _report_failure(task: ScheduledTask, detail: str, error: Exception) -> None:
    """Log the failure, unless the last run failed in the same way: that was logged."""
    if outages.absorb(error):
        return
    last_run = Heartbeat.objects.filter(name=task.last_run_name).first()
    if last_run is None or not last_run.detail.startswith(detail[:DETAIL_LENGTH]):
        log.error(
            "the scheduled task %s %s; the next one with another outcome is logged",
            task.name,
            detail,
            exc_info=isinstance(error, DatabaseError),
        )


def _is_due(task: ScheduledTask) -> bool:
    # What the supervisor ran in place of the queue is run again, which ends the outage.
    last_run = Heartbeat.objects.filter(name=task.last_run_name).first()
    if last_run is None or task.is_overdue():
        return True
    return get_database_time() - last_run.at >= DUE_SHARE * task.interval


def run_if_overdue(config: Config, task: ScheduledTask, *, uptime: float) -> bool:
    """Run the task in this process if the queue did not run it for OVERDUE_INTERVALS intervals.

    Says so in the log, and once in an event. `uptime` is how many seconds the caller has run: what
    was not run while the whole worker was down is not the queue's fault.
    """
    limit = OVERDUE_INTERVALS * task.interval
    if uptime < limit.total_seconds():
        return False
    last_run = Heartbeat.objects.filter(name=task.last_run_name).first()
    if last_run is not None and get_database_time() - last_run.at < limit:
        return False
    _report_overdue(task)
    _run(config, task, suffix=" (run by the supervisor)")
    return True


def _report_overdue(task: ScheduledTask) -> None:
    text = (
        f"The queue has not run the schedule {task.name} for"
        f" {OVERDUE_INTERVALS * task.minutes} min; the supervisor runs it."
    )
    with transaction.atomic():
        _, is_first = Heartbeat.objects.get_or_create(
            name=task.overdue_name, defaults={"at": ClockTimestamp()}
        )
        if is_first:
            log.error(text)
            record_event("schedule_overdue", text, actor=WORKER)


def list_overdue() -> list[str]:
    """Return the names of the schedules that the supervisor runs in place of the queue."""
    rows = Heartbeat.objects.filter(name__in=[task.overdue_name for task in SCHEDULED_TASKS])
    names = set(rows.values_list("name", flat=True))
    return [task.name for task in SCHEDULED_TASKS if task.overdue_name in names]
