"""The journal with steps that have no effect on the host: what is recorded, what ends a step."""

import errno
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from core import claims
from core.claims import MAX_ATTEMPTS
from core.clock import get_database_time
from host.errors import Refused
from host.process import shutdown
from host.units.jobs import JobInterrupted
from runs.engine import journal
from runs.engine.step_context import PipelineStep, StepContext
from runs.engine.step_errors import PipelineRestart, StepFailed, StepStopped
from runs.lifecycle import execution
from runs.models import Run
from runs.models.run import ClaimLost
from runs.pipelines import preview, shipping
from runs.rules import Status
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_renewal(monkeypatch):
    """Keep claims from being lost: the thread that renews does not see the rows of a test."""
    monkeypatch.setattr(claims, "RENEW_SECONDS", 3600.0)


@pytest.fixture
def run(settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    return RunFactory(status="preparing")


@pytest.fixture
def claim(run):
    return Run.objects.claim(run.pk, "a worker")


class Steps:
    """Steps whose effects are names in a set; `does` has what an act does besides, by name."""

    def __init__(self, *names, past=()):
        self.there, self.acts, self.does = set(), [], {}
        self.steps = [
            PipelineStep(name, self.act, self.probe, is_irreversible=name in past) for name in names
        ]

    def act(self, context):
        name = context.step.name
        self.acts.append(name)
        if name in self.does:
            self.does[name](context)
        self.there.add(name)

    def probe(self, context):
        return {"made": context.step.name} if context.step.name in self.there else None

    def run_all(self, run, claim):
        journal.run_pipeline(settings.OROBOROS, run, claim, self.steps)


def raising(error):
    def raises(context):
        raise error

    return raises


def statuses(run):
    return {step.name: step.status for step in run.steps.all()}


def test_step_acts_once_and_its_result_is_stored(run, claim):
    steps = Steps("one", "two")
    steps.run_all(run, claim)
    steps.run_all(run, claim)
    assert steps.acts == ["one", "two"]
    assert run.steps.get(name="two").result == {"made": "two"}


def test_existing_effect_is_not_made_again(run, claim):
    steps = Steps("one")
    steps.there.add("one")
    steps.run_all(run, claim)
    assert (steps.acts, statuses(run)) == ([], {"one": "succeeded"})


def test_context_manager_of_a_step_encloses_act_and_probes(run, claim):
    happened = []

    @contextmanager
    def shared(context):
        happened.append("open")
        yield
        happened.append("closed")

    def probe(context):
        happened.append("probe")
        return {} if "act" in happened else None

    def act(context):
        happened.append("act")

    journal.run_pipeline(
        settings.OROBOROS, run, claim, [PipelineStep("one", act, probe, context_manager=shared)]
    )
    assert happened == ["open", "probe", "act", "probe", "closed"]


def test_refusal_by_the_context_manager_fails_the_step(run, claim):
    def shut(context):
        raise Refused("database_unreachable", "connection refused")

    steps = Steps("one")
    steps.steps = [replace(steps.steps[0], context_manager=shut)]
    with pytest.raises(StepFailed) as failed:
        steps.run_all(run, claim)
    assert failed.value.code == "HOST_REFUSED"
    assert (statuses(run), steps.acts) == ({"one": "failed"}, [])


@pytest.mark.parametrize(
    "error",
    [
        StepFailed("BUILD_FAILED", "the build was ended by signal 9"),
        Refused("job_refused", "systemd stops"),
        OSError(errno.ECONNREFUSED, "gone"),
    ],
    ids=["command", "refusal", "system"],
)
def test_no_failure_counts_while_the_worker_ends(run, claim, monkeypatch, error):
    monkeypatch.setattr(shutdown, "_state", bytearray(2))

    def act(context):
        shutdown.watch()
        shutdown.begin()
        raise error

    steps = Steps("one")
    steps.does["one"] = act
    with pytest.raises(StepStopped):
        steps.run_all(run, claim)
    assert claim.is_lost
    assert statuses(run) == {"one": "running"}  # the next claim asks its probe


def test_a_run_whose_job_was_interrupted_continues_with_the_next_claim(run, monkeypatch):
    steps = Steps("one")
    steps.does["one"] = raising(JobInterrupted("ouroboros-job@job-1.service"))
    monkeypatch.setattr(execution, "get_pending_steps", lambda config, run: steps.steps)
    for attempt in (1, 2):
        assert execution.execute_run(run.pk)
        run.refresh_from_db()
        assert (run.status, run.attempts, run.claim_owner) == ("preparing", attempt, "")
    steps.does = {}
    execution.execute_run(run.pk)
    assert (statuses(run), steps.acts) == ({"one": "succeeded"}, ["one"] * 3)


@pytest.mark.parametrize("attempts", [1, 2])
def test_missing_effect_after_each_act_fails_the_step_and_says_what_was_looked_for(
    run, claim, attempts
):
    steps = Steps("one")
    fields = {"probe": lambda context: None, "effect": "{commit} in its folder"}
    steps.steps = [replace(steps.steps[0], attempts=attempts, **fields)]
    with pytest.raises(StepFailed, match=f"{run.commit_sha} in its folder was not found") as failed:
        steps.run_all(run, claim)
    assert failed.value.code == "EFFECT_MISSING"
    assert (statuses(run), steps.acts) == ({"one": "failed"}, ["one"] * attempts)


def test_an_effect_that_is_gone_after_the_act_is_made_once_more(run, claim):
    steps = Steps("one")
    gone = iter([True, True, False])  # before the first act, after it, after the second
    probe = lambda context: None if next(gone) else {"made": "one"}  # noqa: E731
    steps.steps = [replace(steps.steps[0], probe=probe, attempts=2)]
    steps.run_all(run, claim)
    assert (statuses(run), steps.acts) == ({"one": "succeeded"}, ["one"] * 2)


@pytest.mark.parametrize("step", [*preview.STEPS, *shipping.STEPS], ids=lambda step: step.name)
def test_every_step_of_a_pipeline_describes_its_effect(step, run):
    context = StepContext(settings.OROBOROS, None, "", run, None, step, 1, 1, {})
    assert "{" not in context.describe_effect()
    # These probes raise themselves, with what is missing.
    assert step.name in ("lease", "answer") or step.effect != PipelineStep.effect


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/var/x"), "DISK_FULL"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "DISK_FULL"),
        (Refused("git_failed", "fatal: bad object"), "HOST_REFUSED"),
        (Refused("disk_full", "PostgreSQL has no room"), "DISK_FULL"),
        (Refused("manifest_invalid", "Procfile line 1"), "MANIFEST_INVALID"),
        (Refused("git_locked", "Git's lock stays"), "HOST_REFUSED"),
        (StepFailed("BUILD_FAILED", "make said no"), "BUILD_FAILED"),
    ],
)
def test_known_errors_fail_the_step_with_their_code(error, code, run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = raising(error)
    with pytest.raises(StepFailed) as failed:
        steps.run_all(run, claim)
    assert failed.value.code == code
    assert failed.value.next_action
    assert (statuses(run), steps.acts) == ({"one": "failed"}, ["one"])


def test_command_that_fails_on_a_full_disk_fails_with_disk_full(run, claim, monkeypatch):
    monkeypatch.setattr("runs.engine.step_errors._is_disk_full", lambda config: True)
    steps = Steps("one")
    steps.does["one"] = raising(StepFailed("CHECKS_FAILED", "a check failed"))
    with pytest.raises(StepFailed, match="The disk is full") as failed:
        steps.run_all(run, claim)
    assert failed.value.code == "DISK_FULL"


def test_pipeline_restarts_at_the_named_step_a_limited_number_of_times(run, claim):
    steps = Steps("one", "two", "three")
    steps.does["three"] = raising(PipelineRestart("two", "the ground moved"))
    with pytest.raises(StepFailed, match=r"restarted 5 times.*the ground moved"):
        steps.run_all(run, claim)
    assert steps.acts == ["one", "two", *["three"] * 5]  # the probe still finds what two made
    assert run.events.filter(kind="pipeline_restarted").count() == 5


@pytest.mark.parametrize("restarts", [journal.MAX_RESTARTS - 1, journal.MAX_RESTARTS])
def test_pipeline_goes_on_after_four_restarts_and_not_after_five(run, claim, restarts):
    steps, left = Steps("one", "two"), [PipelineRestart("one", "it moved")] * restarts
    steps.does["two"] = lambda context: raising(left.pop())(context) if left else None
    if restarts < 5:
        steps.run_all(run, claim)
        assert statuses(run) == {"one": "succeeded", "two": "succeeded"}
        return
    with pytest.raises(StepFailed, match="restarted 5 times"):
        steps.run_all(run, claim)
    assert steps.acts == ["one", *["two"] * 5]


def test_lost_claim_writes_nothing(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: Run.objects.filter(pk=run.pk).update(claim_fence=99)
    with pytest.raises(ClaimLost):
        steps.run_all(run, claim)
    assert statuses(run) == {"one": "running"}
    assert claim.is_lost


def expire_claim(run):
    """As 30 s after the last renewal; no other process has claimed the run yet."""
    Run.objects.filter(pk=run.pk).update(claim_expires_at=get_database_time())


def read_rows(run):
    """Return the rows that a claim may write."""
    return [*Run.objects.filter(pk=run.pk).values(), *run.steps.values(), *run.events.values()]


def test_expired_claim_begins_no_step(run, claim):
    expire_claim(run)
    steps, before = Steps("one"), read_rows(run)
    with pytest.raises(ClaimLost):
        steps.run_all(run, claim)
    assert (steps.acts, read_rows(run), claim.is_lost) == ([], before, True)


def test_claim_that_expires_during_a_step_does_not_end_it(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: expire_claim(run)
    with pytest.raises(ClaimLost):
        steps.run_all(run, claim)
    assert (statuses(run), steps.acts) == ({"one": "running"}, ["one"])
    assert claim.is_lost


WRITES = {
    "update_run": lambda context: context.update_run(pushed=True),
    "record_progress": lambda context: context.record_progress(done=1),
    "set_notes": lambda context: context.set_notes(["a note"]),
    "advance_run": lambda context: journal.advance_run(
        context.run, Status.PREVIEW_READY, context.claim
    ),
    "lock_claimed_run": lambda context: journal.lock_claimed_run(context.claim),
    "reopen_steps": lambda context: journal._reopen_steps(
        context.run, context.claim, [context.step], PipelineRestart(context.step.name, "why")
    ),
}


@pytest.mark.parametrize("write", WRITES)
def test_expired_claim_writes_nothing(write, run, claim):
    contexts, steps = [], Steps("one")
    steps.does["one"] = contexts.append
    steps.run_all(run, claim)
    expire_claim(run)
    before = read_rows(run)
    with pytest.raises(ClaimLost):
        WRITES[write](contexts[0])
    assert read_rows(run) == before


def test_process_that_was_stopped_past_its_claim_does_not_act(run, claim):
    claim.valid_until = 0.0
    steps = Steps("one")
    with pytest.raises(StepStopped):
        steps.run_all(run, claim)
    assert steps.acts == []


def test_irreversible_step_that_lost_its_claim_after_it_acted_is_not_journaled_as_stopped(
    run, claim
):
    steps = Steps("merge", past=["merge"])
    steps.does["merge"] = lambda context: setattr(context.claim, "valid_until", 0.0)
    with pytest.raises(StepStopped):
        steps.run_all(run, claim)
    assert statuses(run) == {"merge": "running"}
    assert journal.has_begun_irreversible_step(run, steps.steps)


def ask_to_stop(run):
    Run.objects.filter(pk=run.pk).update(stop_status="canceled", stop_actor="bob")


def test_stop_request_ends_the_pipeline_before_the_next_step(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: ask_to_stop(run)
    with pytest.raises(StepStopped):
        steps.run_all(run, claim)
    assert statuses(run) == {"one": "succeeded"}


def test_stop_request_after_an_irreversible_step_began_is_ignored(run, claim):
    steps = Steps("one", "two", "three", past=("two", "three"))
    steps.does["two"] = lambda context: ask_to_stop(run)
    steps.run_all(run, claim)
    assert set(statuses(run).values()) == {"succeeded"}


def test_stop_request_before_an_irreversible_step_ends_the_pipeline(run, claim):
    steps = Steps("one", "two", past=("two",))
    steps.does["one"] = lambda context: ask_to_stop(run)
    with pytest.raises(StepStopped):
        steps.run_all(run, claim)
    assert statuses(run) == {"one": "succeeded"}


def test_successful_step_resets_the_attempts_and_one_that_fails_does_not(run, claim):
    Run.objects.filter(pk=run.pk).update(attempts=2)
    run.refresh_from_db()
    steps = Steps("one", "two")
    steps.does["one"] = raising(StepFailed("CHECKS_FAILED", "a check failed"))
    with pytest.raises(StepFailed):
        steps.run_all(run, claim)
    run.refresh_from_db()
    assert run.attempts == 2
    del steps.does["one"]
    steps.run_all(run, claim)
    run.refresh_from_db()
    assert run.attempts == 1


def test_commands_of_a_step_have_the_mark_of_the_run_and_its_claim(run, claim):
    contexts, steps = [], Steps("one")
    steps.does["one"] = contexts.append
    steps.run_all(run, claim)
    assert contexts[0].job == f"{run.pk}:{claim.fence}"


def test_move_of_the_pipeline_is_recorded_on_the_run(run, claim):
    journal.advance_run(run, Status.PREVIEW_READY, claim)
    [event] = run.events.all()
    assert (event.kind, event.actor) == ("preview_ready", "worker")
    assert event.text == "is preview ready now"


def test_restart_runs_the_named_step_again_and_leaves_other_steps(run, claim):
    steps = Steps("one", "two", "three")
    steps.run_all(run, claim)
    run.steps.update(generation=run.generation + 1)  # as of the branch's next commit
    steps.does["three"] = raising(PipelineRestart("two", "the ground moved"))
    steps.there.remove("three")
    with pytest.raises(StepFailed):
        steps.run_all(run, claim)
    attempts = run.steps.filter(generation=run.generation).values_list("name", "attempt")
    assert dict(attempts) == {"one": 1, "two": 5, "three": 5}
    later = run.steps.filter(generation=run.generation + 1).values_list("status", "attempt")
    assert set(later) == {("succeeded", 1)}


def test_exception_that_repeats_at_each_claim_ends_the_run_at_the_limit(run, monkeypatch):
    steps = Steps("one")
    steps.does["one"] = raising(ZeroDivisionError("a bug"))
    monkeypatch.setattr(execution, "get_pending_steps", lambda config, run: steps.steps)
    for number in range(MAX_ATTEMPTS):
        with pytest.raises(ZeroDivisionError):
            execution.execute_run(run.pk)
        run.refresh_from_db()
        assert (run.status, run.attempts, run.claim_owner) == ("preparing", number + 1, "")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.status, run.failure_code) == ("failed", "STEP_KEPT_DYING")
    assert "died 3 times at the step one" in run.failure_detail
    assert steps.acts == ["one"] * MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("status", "attempts", "is_restored"),
    [
        ("deploying", 2 * MAX_ATTEMPTS - 1, True),
        ("deploying", 2 * MAX_ATTEMPTS, True),
        ("deploying", 2 * MAX_ATTEMPTS + 1, False),
        ("merging", MAX_ATTEMPTS + 1, False),
    ],
)
def test_release_before_is_restored_until_that_itself_kept_dying(
    run, claim, monkeypatch, status, attempts, is_restored
):
    restores = []

    def restore(*given):
        restores.append(given[:2])
        return ["look at the log"]

    monkeypatch.setattr(execution.deployment, "restore_previous_release", restore)
    run.status, run.attempts = status, attempts
    with pytest.raises(StepFailed, match=f"died {attempts - 1} times") as failed:
        execution._fail_after_crashes(settings.OROBOROS, run, claim)
    assert restores == ([(settings.OROBOROS, run)] if is_restored else [])
    assert ("look at the log" in failed.value.next_action) is is_restored


def test_broken_connection_releases_the_claim(run, claim, transactional_db):
    with pytest.raises(OperationalError, match="closed"), journal.hold_claim(claim):
        connection.connection.close()
        run.refresh_from_db()
    run.refresh_from_db()
    assert (run.claim_owner, run.attempts) == ("", 1)


def test_task_for_a_run_that_waits_for_a_person_does_nothing(run):
    Run.objects.filter(pk=run.pk).update(status="preview_ready")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert (run.attempts, run.claim_fence) == (0, 0)


def test_a_repeated_step_replaces_its_notes_and_a_new_commit_has_none(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: context.set_notes(["web listens on all interfaces", "b"])
    steps.does["two"] = lambda context: context.set_notes(["c"])
    steps.run_all(run, claim)
    assert run.list_notes() == ["web listens on all interfaces", "b", "c"]
    steps.does["one"] = lambda context: context.set_notes(["b"])
    steps.there.clear()
    run.steps.all().delete()  # as after a crash that lost the effect
    steps.run_all(run, claim)
    run.refresh_from_db()
    assert run.list_notes() == ["b", "c"]
    assert [event.text for event in run.events.filter(kind="note").order_by("pk")] == [
        "web listens on all interfaces",
        "b",
        "c",
    ]
    run.generation += 1
    assert run.list_notes() == []
