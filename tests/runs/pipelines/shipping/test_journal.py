"""The engine alone, with steps that touch no machine: what is journaled, and what ends a step."""

import errno
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from host.errors import Refused
from runs.engine import journal
from runs.engine.journal import Action
from runs.engine.step_context import Again, StepFailed, Stopped
from runs.lifecycle import operations
from runs.models import Run
from runs.models.run import ClaimLost
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    return RunFactory(status="preparing")


@pytest.fixture
def claim(run):
    return Run.objects.claim(run.pk, "a worker")


class Steps:
    """Actions whose effects are names in a set; `does` says what an act does besides."""

    def __init__(self, *names, past=()):
        self.there, self.acts, self.does = set(), [], {}
        self.actions = [
            Action(name, self.act, self.probe, is_past_stopping=name in past) for name in names
        ]

    def act(self, context):
        name = context.action.name
        self.acts.append(name)
        if name in self.does:
            self.does[name](context)
        self.there.add(name)

    def probe(self, context):
        return {"made": context.action.name} if context.action.name in self.there else None

    def carry(self, run, claim):
        journal.carry(settings.OROBOROS, run, claim, self.actions)


def raising(error):
    def raises(context):
        raise error

    return raises


def statuses(run):
    return {step.name: step.status for step in run.steps.all()}


def test_each_step_acts_once_and_keeps_its_result(run, claim):
    steps = Steps("one", "two")
    steps.carry(run, claim)
    steps.carry(run, claim)
    assert steps.acts == ["one", "two"]
    assert run.steps.get(name="two").result == {"made": "two"}


def test_an_effect_that_is_there_is_not_made_again(run, claim):
    steps = Steps("one")
    steps.there.add("one")
    steps.carry(run, claim)
    assert (steps.acts, statuses(run)) == ([], {"one": "succeeded"})


def test_what_an_act_and_its_probe_share_is_open_for_both_and_closed_after(run, claim):
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

    journal.carry(settings.OROBOROS, run, claim, [Action("one", act, probe, within=shared)])
    assert happened == ["open", "probe", "act", "probe", "closed"]


def test_a_step_whose_server_does_not_let_it_in_fails_with_a_code(run, claim):
    def shut(context):
        raise Refused("database_unreachable", "connection refused")

    steps = Steps("one")
    steps.actions = [replace(steps.actions[0], within=shut)]
    with pytest.raises(StepFailed) as failed:
        steps.carry(run, claim)
    assert failed.value.code == "HOST_REFUSED"
    assert (statuses(run), steps.acts) == ({"one": "failed"}, [])


def test_an_effect_that_is_not_there_after_the_act_is_a_bug_that_is_told(run, claim):
    steps = Steps("one")
    steps.actions = [replace(steps.actions[0], probe=lambda context: None)]
    with pytest.raises(RuntimeError, match="its effect is not there"):
        steps.carry(run, claim)
    log = journal.artifact_path(settings.OROBOROS, run, "one_log").read_text()
    assert "RuntimeError" in log
    assert statuses(run) == {"one": "running"}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/var/x"), "DISK_FULL"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "DISK_FULL"),
        (Refused("git_failed", "fatal: write error: No space left on device"), "DISK_FULL"),
        (Refused("disk_full", "PostgreSQL has no room"), "DISK_FULL"),
        (Refused("manifest_invalid", "Procfile line 1"), "MANIFEST_INVALID"),
        (Refused("git_locked", "Git's lock stays"), "HOST_REFUSED"),
        (StepFailed("BUILD_FAILED", "make said no"), "BUILD_FAILED"),
    ],
)
def test_known_bad_ends_have_their_codes(error, code, run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = raising(error)
    with pytest.raises(StepFailed) as failed:
        steps.carry(run, claim)
    assert failed.value.code == code
    assert failed.value.next_action
    assert (statuses(run), steps.acts) == ({"one": "failed"}, ["one"])


def test_a_command_that_fails_for_want_of_room_is_the_disks_failure(run, claim, monkeypatch):
    monkeypatch.setattr("runs.engine.step_context._is_full", lambda config: True)
    steps = Steps("one")
    steps.does["one"] = raising(StepFailed("CHECKS_FAILED", "a check failed"))
    with pytest.raises(StepFailed, match="No room left") as failed:
        steps.carry(run, claim)
    assert failed.value.code == "DISK_FULL"


def test_what_moved_is_begun_anew_from_the_step_named_and_not_for_ever(run, claim):
    steps = Steps("one", "two", "three")
    steps.does["three"] = raising(Again("two", "the ground moved"))
    with pytest.raises(StepFailed, match=r"Begun anew 5 times.*the ground moved"):
        steps.carry(run, claim)
    assert steps.acts == ["one", "two", *["three"] * 5]  # the probe still finds what two made
    assert run.events.filter(kind="begun_again").count() == 5


def test_a_lost_claim_writes_nothing_more(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: Run.objects.filter(pk=run.pk).update(claim_fence=99)
    with pytest.raises(ClaimLost):
        steps.carry(run, claim)
    assert statuses(run) == {"one": "running"}
    assert claim.is_lost


def test_a_process_that_was_stopped_beyond_its_claim_does_not_act(run, claim):
    claim.good_until = 0.0
    steps = Steps("one")
    with pytest.raises(Stopped):
        steps.carry(run, claim)
    assert steps.acts == []


def ask_to_stop(run):
    Run.objects.filter(pk=run.pk).update(stop_status="canceled", stop_actor="bob")


def test_a_request_to_stop_is_honoured_before_the_next_step(run, claim):
    steps = Steps("one", "two")
    steps.does["one"] = lambda context: ask_to_stop(run)
    with pytest.raises(Stopped):
        steps.carry(run, claim)
    assert statuses(run) == {"one": "succeeded"}


def test_no_request_to_stop_is_honoured_once_the_point_is_passed(run, claim):
    steps = Steps("one", "two", "three", past=("two", "three"))
    steps.does["two"] = lambda context: ask_to_stop(run)
    steps.carry(run, claim)
    assert set(statuses(run).values()) == {"succeeded"}


def test_a_request_to_stop_is_honoured_at_the_point_itself(run, claim):
    steps = Steps("one", "two", past=("two",))
    steps.does["one"] = lambda context: ask_to_stop(run)
    with pytest.raises(Stopped):
        steps.carry(run, claim)
    assert statuses(run) == {"one": "succeeded"}


def test_the_claim_in_which_a_step_succeeds_is_the_first_attempt_at_the_next(run, claim):
    Steps("one").carry(run, claim)
    run.refresh_from_db()
    assert run.attempts == 1


def test_a_broken_connection_does_not_keep_the_claim(run, claim, transactional_db):
    with pytest.raises(OperationalError, match="closed"), journal.kept(claim):
        connection.connection.close()
        run.refresh_from_db()
    run.refresh_from_db()
    assert (run.claim_owner, run.attempts) == ("", 1)


def test_a_bell_for_a_run_that_waits_for_somebody_does_nothing(run):
    Run.objects.filter(pk=run.pk).update(status="preview_ready")
    operations.carry(run.pk)
    run.refresh_from_db()
    assert (run.attempts, run.claim_fence) == (0, 0)
