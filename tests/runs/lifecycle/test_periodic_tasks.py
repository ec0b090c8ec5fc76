"""What the worker's supervisor repeats, and how often: the promises of docs/decisions/0015."""

import inspect
from functools import partial

import pytest
from django.conf import settings

from runs.lifecycle import schedules
from runs.lifecycle.supervisor import PeriodicTask, Supervisor

# Each task's seconds and function. Without it, or with it too late, something is not noticed.
TASKS = {
    "enqueueing unclaimed runs": (1.0, "runs.lifecycle.execution.enqueue_unclaimed_runs"),
    "prechecks": (2.0, "runs.prechecks.execution.sweep"),
    "screenshots": (2.0, "runs.screenshots.execution.sweep"),
    "the heartbeat": (5.0, "runs.lifecycle.queue_health.send_heartbeat"),
    "the reaper": (2.0, "runs.leasing.reaper.reap_expired"),
    "backend supervision": (2.0, "runs.leasing.backend_supervision.check_backends"),
    "ended processes": (1.0, "runs.leasing.process_ends.report_ends"),
    "dead units": (1.0, "runs.lifecycle.reconciler.start_dead_units"),
    "services": (1.0, "runs.leasing.services.restart_dead_servers"),
    "disk usage": (15.0, "runs.leasing.backend_supervision.check_disk_usage"),
    "local ports": (1.0, "runs.lifecycle.reconciler.free_local_ports"),
    "quick repair": (2.0, "runs.lifecycle.reconciler.repair_quickly"),
    "production": (2.0, "runs.lifecycle.reconciler.repair_production"),
    "the watch of production": (5.0, "runs.lifecycle.production_watch.ProductionWatch.check"),
    "interrupted deployments": (5.0, "runs.lifecycle.reconciler.continue_deployments"),
    "the queue's rows": (10.0, "runs.lifecycle.queue_health.delete_taken_tasks"),
    "the watch of an outage": (5.0, "core.outages.resume"),
    "the rotation of logs": (5.0, "runs.lifecycle.supervisor.trim_logs"),
    "the spare copy": (5.0, "runs.pipelines.template_databases.ensure_spare"),
    "the forge's deliveries": (1.0, "forges.deliveries.process_waiting"),
    "the messages to the forge": (1.0, "forges.reporting.outbox.report"),
    "the checks before shipping": (30.0, "forges.shipping.required_checks.check_waiting"),
    "the forge's pull requests": (120.0, "forges.reconciler.reconcile"),
    "the notifications": (1.0, "notifications.sending.notify"),
    "ended sessions": (3600.0, "accounts.sign_in.sessions.remove_expired"),
    "old notifications": (3600.0, "notifications.collecting.remove_old"),
}
SCHEDULES = ("reaper", "reconciler", "branch-watch", "retention")
CHECKS = {f"the check of the schedule {name}": name for name in SCHEDULES}


@pytest.fixture(scope="module")
def supervisor():
    """A supervisor that does not run, and was made 200 seconds ago."""
    made = Supervisor(settings.OROBOROS)
    made.created -= 200.0
    return made


@pytest.fixture
def tasks(supervisor):
    """Its periodic tasks by name."""
    return {task.name: task for task in supervisor.periodic_tasks}


def test_every_task_is_listed_here_and_no_name_is_used_twice(supervisor):
    names = [task.name for task in supervisor.periodic_tasks]
    assert sorted(names) == sorted([*TASKS, *CHECKS])


@pytest.mark.parametrize("name", TASKS)
def test_the_supervisor_repeats_the_task_as_often_as_is_promised(tasks, name):
    run = tasks[name].run
    function = run.func if isinstance(run, partial) else run
    assert (tasks[name].seconds, f"{function.__module__}.{function.__qualname__}") == TASKS[name]
    # With what the function takes: the configuration, or nothing.
    arguments = run.args if isinstance(run, partial) else ()
    assert all(argument is settings.OROBOROS for argument in arguments)
    inspect.signature(function).bind(*arguments)


@pytest.mark.parametrize("name", CHECKS)
def test_the_supervisor_looks_every_10_seconds_whether_a_schedule_is_overdue(
    tasks, name, monkeypatch
):
    looks = []

    def look(config, task, *, uptime):
        looks.append((config, task.name, uptime >= 200.0))

    monkeypatch.setattr(schedules, "run_if_overdue", look)
    tasks[name].run()
    assert looks == [(settings.OROBOROS, CHECKS[name], True)]
    assert tasks[name].seconds == 10.0


def test_a_task_is_run_at_once_and_then_when_its_time_has_come():
    runs = []
    task = PeriodicTask("a task", 5.0, lambda: runs.append(1))
    task.run_if_due(100.0)
    task.run_if_due(104.9)
    assert (len(runs), task.compute_pause(103.0)) == (1, 2.0)
    task.run_if_due(105.0)
    assert (len(runs), task.due) == (2, 110.0)


@pytest.mark.parametrize(
    ("left", "pause"),
    [(1.0, 1.0), (0.06, 0.06), (0.05, 0.05), (0.04, 0.05), (-9.0, 0.05)],
)
def test_a_late_task_leaves_time_for_others(left, pause):
    task = PeriodicTask("a task", 5.0, lambda: None, due=100.0)
    assert task.compute_pause(100.0 - left) == pytest.approx(pause)
