"""The push: its modes, its limits, and what is undone and said when the remote does not take it."""

import pytest

from host.errors import Refused
from host.git.bare_repository import Repository
from host.process.outcome import Outcome
from runs.engine.step_errors import PipelineRestart, StepFailed, StepStopped
from runs.models import Run
from runs.pipelines import recovery_commands, shipping
from tests.runs.pipelines.shipping.test_merge_and_push import MAIN, context, host, run

__all__ = ["context", "host", "run"]
pytestmark = pytest.mark.django_db

TIMED_OUT = Outcome(exit_code=None, seconds=1.0, timed_out=True, stopped=False)


@pytest.fixture
def pushes(monkeypatch):
    """Replace git's push, which then answers with `TIMED_OUT`; the calls that were made."""
    made = []

    def push(repo, *words, **options):
        made.append((words, options))
        return TIMED_OUT

    monkeypatch.setattr(Repository, "push", push)
    return made


def answer_pushes(monkeypatch, answer):
    """Have the remote refuse each push with this text."""

    def refuse(repo, *words, **options):
        raise Refused("remote_unavailable", answer)

    monkeypatch.setattr(Repository, "push", refuse)


@pytest.mark.parametrize(
    ("mode", "is_sent", "is_pushed"),
    [("auto", True, True), ("dry-run", True, False), ("manual", False, False)],
)
def test_only_the_mode_auto_moves_the_remote(host, run, context, mode, is_sent, is_pushed):
    host.config.environ["MERGE_GATE_GIT_PUSH_MODE"] = mode
    shipping.merge(context)
    shipping.push(context)
    assert host.remote_main() == (run.candidate_sha if is_pushed else host.base)
    row = Run.objects.get(pk=run.pk)
    assert row.pushed is is_pushed
    assert row.next_action == ("" if is_pushed else recovery_commands.PUSH_COMMAND)
    log = context.log.read_text()
    assert log.startswith(f"push mode {mode}: {run.candidate_sha} to main\n")
    assert (str(host.remote) in log) is is_sent


def test_a_push_has_the_limit_that_is_set_and_ends_with_its_run(host, run, context, pushes):
    host.config.environ["MERGE_GATE_GIT_PUSH_TIMEOUT_SECONDS"] = "7"
    host.push(run.candidate_sha)
    assert shipping._push_and_verify(context, host.repo, is_dry=False)
    assert shipping._push_and_verify(context, host.repo, is_dry=True)
    words = (str(host.remote), run.candidate_sha, "main")
    options = {"log": context.log, "timeout": 7.0, "stop": context.is_stopping}
    assert pushes == [
        (words, {**options, "dry_run": False}),
        (words, {**options, "dry_run": True}),
    ]


def test_a_push_that_took_too_long_and_arrives_later_is_found(
    host, run, context, pushes, monkeypatch
):
    monkeypatch.setattr(shipping, "SETTLE_SECONDS", 600.0)
    monkeypatch.setattr(shipping, "PROBE_INTERVAL_SECONDS", 0.0)
    looks, is_pushed = [], shipping._is_pushed

    def look(*arguments):
        looks.append(is_pushed(*arguments))
        if len(looks) == 2:
            host.push(run.candidate_sha)
        return looks[-1]

    monkeypatch.setattr(shipping, "_is_pushed", look)
    assert shipping._push_and_verify(context, host.repo, is_dry=False)
    assert looks == [False, False, True]


def test_a_push_that_failed_at_once_is_looked_for_once(host, run, context, monkeypatch):
    looks, is_pushed = [], shipping._is_pushed
    monkeypatch.setattr(shipping, "_is_pushed", lambda *given: looks.append(1) or is_pushed(*given))
    hook = host.remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert not shipping._push_and_verify(context, host.repo, is_dry=False)
    assert looks == [1]


def test_a_run_that_is_to_stop_waits_for_no_push(host, run, context, pushes, monkeypatch):
    monkeypatch.setattr(shipping, "SETTLE_SECONDS", 600.0)
    monkeypatch.setattr(shipping, "PROBE_INTERVAL_SECONDS", 0.0)
    looks = []

    def look(*given):
        assert looks == []
        looks.append(1)
        context.claim.lost.set()
        return False

    monkeypatch.setattr(shipping, "_is_pushed", look)
    with pytest.raises(StepStopped):
        shipping._push_and_verify(context, host.repo, is_dry=False)


def test_what_refuses_a_push_is_in_the_log_and_in_the_runs_failure(host, run, context, monkeypatch):
    answer_pushes(monkeypatch, "The remote is away.")
    shipping.merge(context)
    with pytest.raises(StepFailed) as failed:
        shipping.push(context)
    assert failed.value.detail.endswith("nothing is merged or deployed.\nThe remote is away.")
    expected = recovery_commands.commands_after_push(host.config, run, context.log)
    assert failed.value.next_action == "\n".join(expected)
    assert context.log.read_text().splitlines()[1:] == [
        "The remote is away.",
        f"main is back at {host.base}",
    ]
    assert host.our_main() == host.base


def test_a_push_of_which_git_says_nothing_is_said_to_have_taken_too_long(
    host, run, context, pushes, monkeypatch
):
    monkeypatch.setattr(shipping, "SETTLE_SECONDS", 0.0)
    shipping.merge(context)
    with pytest.raises(StepFailed, match=r"deployed\.\nthe push took too long$"):
        shipping.push(context)


def test_what_the_remotes_hook_says_is_the_cause(host, run, context):
    hook = host.remote / "hooks" / "update"
    hook.write_text("#!/bin/sh\necho 'Not on a Friday.' >&2\nexit 1\n")
    hook.chmod(0o755)
    shipping.merge(context)
    with pytest.raises(StepFailed, match=r"deployed\.\nremote: Not on a Friday\."):
        shipping.push(context)


def test_only_the_last_lines_of_the_log_name_the_cause(host, run, context, monkeypatch):
    answer_pushes(monkeypatch, "\n".join(f"line {number}" for number in range(40)))
    shipping.merge(context)
    with pytest.raises(StepFailed, match=r"deployed\.\nline 10$"):
        shipping.push(context)


def test_a_remote_that_moved_before_the_push_restarts_the_pipeline(host, run, context):
    shipping.merge(context)
    moved = host.commit("moved", host.base)
    host.push(moved)
    with pytest.raises(PipelineRestart) as restart:
        shipping.push(context)
    reason = "the remote's main moved before the push: a new candidate is created"
    assert (restart.value.step, restart.value.reason) == ("candidate", reason)
    assert (host.our_main(), host.remote_main()) == (host.base, moved)
    assert host.repo.resolve_ref(shipping.candidate_ref(run)) is None


# -- what is removed from our main ----------------------------------------------------------------


def test_a_commit_that_was_only_deployed_again_stays_in_main(host, run):
    run.candidate_sha = run.base_sha
    host.remote.rename(host.away)
    assert shipping.remove_from_target_branch(host.config, run)
    assert host.our_main() == host.base
    shipping._reset_target_branch(host.config, run, host.repo)
    assert host.our_main() == host.base


def test_a_commit_that_git_cannot_look_for_stays_in_main_and_is_logged(
    host, run, monkeypatch, caplog
):
    host.repo.update_ref(MAIN, run.candidate_sha, host.base)

    def refuse(*given):
        raise Refused("git_failed", "The repository is broken.")

    monkeypatch.setattr(Repository, "is_ancestor", refuse)
    assert shipping.remove_from_target_branch(host.config, run) is False
    text = f"the commit of run {run.pk} stays in main: The repository is broken."
    assert [record.getMessage() for record in caplog.records] == [text]
    assert host.our_main() == run.candidate_sha


def test_a_remote_that_is_silent_is_logged_before_a_commit_is_removed(host, run, caplog):
    host.repo.update_ref(MAIN, run.candidate_sha, host.base)
    host.remote.rename(host.away)
    assert shipping.remove_from_target_branch(host.config, run)
    assert str(host.remote) in caplog.text
