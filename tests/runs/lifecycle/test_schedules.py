"""The queue's schedules: their rows, their runs in the queue, and who runs them otherwise."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.urls import reverse
from django_q.models import Schedule
from django_q.scheduler import scheduler

from core.clock import get_database_time
from host.errors import Refused
from host.files.file_lock import file_lock
from runs.lifecycle import schedules
from runs.lifecycle.schedules import BY_NAME, FUNCTION, ScheduledTask
from runs.models import Event, Heartbeat

pytestmark = pytest.mark.django_db
NAMES = ["reaper", "reconciler", "branch-watch", "retention"]


@pytest.fixture
def config(settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    return settings.OROBOROS


@pytest.fixture
def ran(config, monkeypatch):
    """Replace the work of every scheduled task; returns the names of those that ran."""
    names = []

    def fake(task):
        def run(config):
            names.append(task.name)
            return f"{task.name} done"

        return replace(task, run=run)

    tasks = tuple(map(fake, schedules.SCHEDULED_TASKS))
    monkeypatch.setattr(schedules, "SCHEDULED_TASKS", tasks)
    monkeypatch.setattr(schedules, "BY_NAME", {task.name: task for task in tasks})
    return names


def set_last_run(task, age_seconds):
    at = get_database_time() - timedelta(seconds=age_seconds)
    Heartbeat.objects.update_or_create(name=task.last_run_name, defaults={"at": at})


def kinds():
    return [*Event.objects.order_by("id").values_list("kind", flat=True)]


# -- the rows -------------------------------------------------------------------------------------


def test_set_up_creates_the_schedules_once(settings, capsys):
    call_command("sync_schedules")
    call_command("sync_schedules")
    created, again = capsys.readouterr().out.splitlines()
    assert created == "created the schedules reaper, reconciler, branch-watch, retention"
    assert again == "the schedules exist"
    rows = Schedule.objects.order_by("pk")
    assert [(row.name, row.minutes, row.repeats) for row in rows] == [
        ("reaper", 1, -1), ("reconciler", 1, -1), ("branch-watch", 1, -1), ("retention", 60, -1),
    ]  # fmt: skip
    assert {row.cluster for row in rows} == {settings.Q_CLUSTER["name"]}


def test_sync_repairs_rows_that_were_changed_and_keeps_their_next_run():
    schedules.sync_schedules()
    row = Schedule.objects.get(name="reaper")
    Schedule.objects.filter(pk=row.pk).update(minutes=5, args="()", repeats=0)
    Schedule.objects.create(name="renamed", func=FUNCTION, cluster=row.cluster)
    Schedule.objects.create(name="reaper", func=FUNCTION, cluster=row.cluster)
    foreign = Schedule.objects.create(name="theirs", func="print", cluster=row.cluster)
    assert schedules.sync_schedules() == []
    repaired = Schedule.objects.get(name="reaper")
    assert (repaired.pk, repaired.minutes, repaired.repeats) == (row.pk, 1, -1)
    assert (repaired.args, repaired.next_run) == ("('reaper',)", row.next_run)
    assert [*Schedule.objects.order_by("pk")][4:] == [foreign]


def test_django_q_enqueues_a_schedule_with_a_function_that_exists(ran, monkeypatch):
    tasks = []

    def record_task(func, *args, **options):
        tasks.append((func, args))
        return uuid4().hex

    monkeypatch.setattr("django_q.scheduler.async_task", record_task)
    monkeypatch.setattr("django_q.scheduler.close_old_django_connections", lambda: None)
    monkeypatch.setattr("django_q.conf.Conf.CLUSTER_NAME", "ours")
    schedules.sync_schedules()
    Schedule.objects.update(cluster="ours", next_run=get_database_time() - timedelta(seconds=1))
    scheduler()
    assert tasks == [(FUNCTION, (name,)) for name in NAMES]
    assert all(row.next_run > get_database_time() for row in Schedule.objects.all())


# -- runs in the queue ----------------------------------------------------------------------------


def test_a_scheduled_task_runs_itself_and_then_what_is_due(ran):
    for name in ("reconciler", "retention"):
        set_last_run(BY_NAME[name], 20)
    assert schedules.run_scheduled_task("branch-watch") == (
        "branch-watch: branch-watch done\nreaper: reaper done"
    )
    assert ran == ["branch-watch", "reaper"]
    row = Heartbeat.objects.get(name="schedule:reaper")
    assert row.detail == "reaper done"
    assert get_database_time() - row.at < timedelta(seconds=60)


def test_a_scheduled_task_returns_at_once_while_another_one_runs(ran, config):
    with file_lock(config.var / "run" / "schedules.lock", seconds=0):
        outcome = schedules.run_scheduled_task("reaper")
    assert outcome == "left to the scheduled task that is running"
    assert ran == []


def test_a_refusal_is_an_outcome_and_the_other_tasks_run(ran, monkeypatch):
    def refuse(config):
        raise Refused("remote_unavailable", "The git remote did not answer.")

    tasks = (ScheduledTask("branch-watch", 1, refuse), *schedules.SCHEDULED_TASKS[:1])
    monkeypatch.setattr(schedules, "SCHEDULED_TASKS", tasks)
    monkeypatch.setattr(schedules, "BY_NAME", {task.name: task for task in tasks})
    outcome = schedules.run_scheduled_task("branch-watch")
    assert "did not answer" in outcome.splitlines()[0]
    assert outcome.splitlines()[1] == "reaper: reaper done"
    assert Heartbeat.objects.get(name="schedule:branch-watch").detail.startswith("failed: ")


def test_every_real_task_runs_on_an_empty_host(settings, monkeypatch):
    monkeypatch.setattr(schedules.retention, "remove_unneeded", lambda config: ["a", "b"])
    monkeypatch.setattr(schedules.reconciler, "reconcile", lambda config: [])
    settings.OROBOROS = replace(settings.OROBOROS, git_remote_url="")
    outcomes = [task.run(settings.OROBOROS) for task in schedules.SCHEDULED_TASKS]
    assert outcomes == [
        "0 leases ended", "0 differences", "0 runs have a new commit", "2 removed; a; b",
    ]  # fmt: skip


# -- while the queue is frozen --------------------------------------------------------------------


def test_the_supervisor_runs_a_schedule_that_the_queue_does_not_and_says_so_once(ran, caplog):
    task = schedules.BY_NAME["reaper"]
    set_last_run(task, 181)
    assert schedules.run_if_overdue(None, task, uptime=181)
    assert ran == ["reaper"]
    assert "The queue has not run the schedule reaper for 3 min" in caplog.text
    detail = Heartbeat.objects.get(name="schedule:reaper").detail
    assert detail == "reaper done (run by the supervisor)"
    set_last_run(task, 181)
    assert schedules.run_if_overdue(None, task, uptime=362)
    assert kinds() == ["schedule_overdue"]
    assert schedules.list_overdue() == ["reaper"]


@pytest.mark.parametrize(("age", "uptime"), [(179, 400), (400, 179)])
def test_a_schedule_is_not_overdue_before_three_intervals_of_queue_and_worker(ran, age, uptime):
    task = schedules.BY_NAME["reaper"]
    set_last_run(task, age)
    assert not schedules.run_if_overdue(None, task, uptime=uptime)
    assert (ran, kinds(), schedules.list_overdue()) == ([], [], [])


def test_a_schedule_that_never_ran_is_overdue_after_three_intervals(ran):
    assert schedules.run_if_overdue(None, schedules.BY_NAME["reaper"], uptime=181)


@pytest.mark.parametrize("name", ["reaper", "reconciler"])
def test_a_run_in_the_queue_ends_the_outage_and_says_so(ran, name):
    assert schedules.run_if_overdue(None, schedules.BY_NAME["reaper"], uptime=181)
    schedules.run_scheduled_task(name)
    schedules.run_scheduled_task(name)
    assert kinds() == ["schedule_overdue", "schedule_recovered"]
    assert schedules.list_overdue() == []


# -- the admin ------------------------------------------------------------------------------------


def test_the_admin_shows_the_schedules_and_lets_no_user_change_them(admin_client, ran):
    schedules.sync_schedules()
    Schedule.objects.create(name="theirs", func="print")
    schedules.run_scheduled_task("reaper")
    assert schedules.run_if_overdue(None, schedules.BY_NAME["retention"], uptime=10801) is False
    page = admin_client.get(reverse("admin:django_q_schedule_changelist"))
    text = page.content.decode()
    for word in (*NAMES, "reaper done", "1 min", "60 min", "Next Run", "Last run", "queue"):
        assert word in text
    assert "theirs" not in text
    row = Schedule.objects.get(name="reaper")
    change = admin_client.get(reverse("admin:django_q_schedule_change", args=[row.pk]))
    assert change.status_code == 200
    assert "<textarea" not in change.content.decode()
    assert admin_client.get(reverse("admin:django_q_schedule_add")).status_code == 403
    posted = admin_client.post(reverse("admin:django_q_schedule_change", args=[row.pk]), {})
    assert posted.status_code == 403
