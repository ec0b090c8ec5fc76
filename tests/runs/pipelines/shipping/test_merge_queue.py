"""The merge queue and freezes, with real repositories."""

import shlex
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.utils import timezone

from host.errors import Refused
from releases.deployments import deploy_and_rollback
from runs import freezes, merge_queue
from runs.lifecycle import execution, operations, reverts
from runs.models import Freeze, Run
from tests.factories import FreezeFactory, RunFactory
from tests.runs.pipelines.shipping.harness import kinds_of
from tests.runs.pipelines.shipping.world import GIT

MINUTE = timedelta(minutes=1)


def approved(minutes_ago, **fields):
    at = timezone.now() - minutes_ago * MINUTE
    return RunFactory(status="approved", approved_at=at, **fields)


@pytest.mark.django_db
def test_first_approved_run_is_next():
    second, first = approved(1), approved(2)
    assert merge_queue.get_next_run(settings.OROBOROS) == first
    assert merge_queue.is_next(settings.OROBOROS, first)
    assert not merge_queue.is_next(settings.OROBOROS, second)


@pytest.mark.django_db
def test_shipping_run_is_first_whenever_it_was_approved():
    approved(5)
    at_work = RunFactory(status="deploying", approved_at=timezone.now())
    assert merge_queue.get_next_run(settings.OROBOROS) == at_work
    assert merge_queue.list_queue()[0] == at_work


@pytest.mark.django_db
def test_the_database_lets_one_run_at_a_time_merge_or_deploy():
    RunFactory(status="merging", approved_at=timezone.now())
    with pytest.raises(IntegrityError, match="runs_one_ships_at_a_time"):
        RunFactory(status="deploying", approved_at=timezone.now())


@pytest.mark.django_db
def test_runs_begin_shipping_once_and_in_order():
    first, second = approved(2), approved(1)
    claims = {run: Run.objects.claim(run.pk, f"worker {run.pk}") for run in (first, second)}
    assert not merge_queue.begin_shipping(settings.OROBOROS, second, claims[second])
    assert merge_queue.begin_shipping(settings.OROBOROS, first, claims[first])
    assert not merge_queue.begin_shipping(settings.OROBOROS, second, claims[second])
    assert [run.status for run in merge_queue.list_queue()] == ["merging", "approved"]


@pytest.mark.django_db
def test_persons_freeze_stops_all_until_it_ends_or_is_lifted():
    run = approved(1)
    frozen = freezes.freeze_shipping(actor="ada", reason="a demo", until=timezone.now() + MINUTE)
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    Freeze.objects.filter(pk=frozen.pk).update(until=timezone.now() - MINUTE)
    assert merge_queue.get_next_run(settings.OROBOROS) == run
    freezes.freeze_shipping(actor="ada", reason="without an end")
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    assert (
        merge_queue.unfreeze_shipping(settings.OROBOROS, actor="bob", reason="the demo is over")
        == 1
    )
    assert merge_queue.get_next_run(settings.OROBOROS) == run


@pytest.mark.django_db
def test_freeze_without_a_reason_or_with_a_past_end_is_refused():
    with pytest.raises(Refused, match="Say why"):
        freezes.freeze_shipping(actor="ada", reason=" ")
    with pytest.raises(Refused, match="has passed"):
        freezes.freeze_shipping(actor="ada", reason="late", until=timezone.now() - MINUTE)


EDGES = [
    (datetime.max, "America/New_York", "until_too_far"),
    (datetime.max, "Europe/Berlin", "until_too_far"),
    (datetime.min, "America/New_York", "until_is_over"),
    (datetime.min, "Europe/Berlin", "until_is_over"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("edge", "zone", "code"), EDGES)
def test_freeze_that_ends_at_the_limits_of_datetime_is_refused(edge, zone, code):
    with pytest.raises(Refused) as refusal:
        freezes.freeze_shipping(
            actor="ada", reason="a demo", until=edge.replace(tzinfo=ZoneInfo(zone))
        )
    assert (refusal.value.code, refusal.value.status) == (code, 400)
    assert not Freeze.objects.exists()


@pytest.mark.django_db
def test_freeze_of_more_than_a_year_is_refused():
    year = timezone.now() + timedelta(days=366)
    freezes.freeze_shipping(actor="ada", reason="a sabbatical", until=year - MINUTE)
    with pytest.raises(Refused, match="within a year"):
        freezes.freeze_shipping(actor="ada", reason="a sabbatical", until=year + MINUTE)
    assert Freeze.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("hours", "said"),
    [
        ("nan", "within a year"),
        ("inf", "within a year"),
        ("1e9", "within a year"),
        ("1e300", "within a year"),
        ("0", "has passed"),
        ("-1e300", "has passed"),
    ],
)
def test_invalid_hours_freeze_nothing(hours, said):
    with pytest.raises(CommandError, match=said):
        call_command("freeze", "--reason", "a demo", f"--hours={hours}")
    assert not Freeze.objects.exists()


@pytest.mark.django_db
def test_retry_of_the_run_that_froze_shipping_is_next():
    waiting, failed = approved(9), RunFactory(status="failed")
    FreezeFactory(run=failed)
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    child = RunFactory(status="canceled", parent=failed)
    grandchild = approved(1, parent=child)
    assert merge_queue.get_next_run(settings.OROBOROS) == grandchild
    assert not merge_queue.is_next(settings.OROBOROS, waiting)


@pytest.mark.django_db
def test_retry_does_not_ship_during_a_persons_freeze():
    failed = RunFactory(status="failed")
    FreezeFactory(run=failed)
    approved(1, parent=failed)
    freezes.freeze_shipping(actor="ada", reason="a demo")
    assert merge_queue.get_next_run(settings.OROBOROS) is None


def test_unhealthy_release_freezes_shipping_until_the_retry_is_merged(small, ships, ready_small):
    healthy = ships("froze/before")
    waiting, failed = ready_small("froze/waiting"), ready_small("froze/one")
    (small.folder / "unhealthy").touch()
    ship(failed)
    assert (failed.status, failed.failure_code) == ("failed", "DEPLOY_HEALTHCHECK_FAILED")
    assert failed.artifacts.filter(name="deploy_backend_reload_log").exists()
    assert serves(small) == healthy.candidate_sha
    assert small.remote_main() == failed.candidate_sha  # never forced back
    guidance = failed.events.get(kind="rollback_guidance").text
    assert f"git revert -m 1 {failed.candidate_sha}" in guidance
    assert f"/api/runs/{failed.pk}/retry" in guidance
    assert "unfreeze" in guidance
    ship(waiting)
    assert waiting.status == "approved"

    again = operations.retry(failed, actor="ada")
    execution.execute_run(again.pk)
    ship(again)
    assert (again.status, again.candidate_sha) == ("merged", failed.candidate_sha)
    assert small.remote_main() == serves(small) == failed.candidate_sha  # no second merge
    assert freezes.list_active_freezes() == []
    assert "unfrozen" in kinds_of(again)
    execution.execute_run(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == "merged"


def test_freeze_for_a_commit_that_the_repository_lost_stays(small, ready_small):
    run = ready_small("froze/lost")
    lost = RunFactory(status="failed", base_sha="b" * 40, candidate_sha="a" * 40)
    FreezeFactory(run=lost)
    operations.approve(run, actor="grace")
    execution.enqueue_unclaimed_runs()
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    assert merge_queue.read_merge_queue(settings.OROBOROS)[run.pk].is_frozen
    merge_queue.unfreeze_shipping(settings.OROBOROS, actor="ada", reason="that commit is gone")
    assert merge_queue.get_next_run(settings.OROBOROS) == run


@pytest.mark.parametrize(
    "mode",
    [
        "auto",
        pytest.param("manual", marks=pytest.mark.full),
        pytest.param("dry-run", marks=pytest.mark.full),
    ],
)
def test_revert_of_the_failed_run_ships_during_the_freeze(
    mode, small, ships, ready_small, settings
):
    healthy = ships("back/before")
    environ = {**small.config.environ, "MERGE_GATE_GIT_PUSH_MODE": mode}
    settings.OROBOROS = replace(small.config, environ=environ)
    failed = ready_small("back/one")
    (small.folder / "unhealthy").touch()
    ship(failed)
    branch = followed(small, failed, is_pushed=mode == "auto")
    revert = operations.create_run(title="take it back", branch=branch, actor="ada")
    execution.execute_run(revert.pk)
    ship(revert)
    assert (revert.status, revert.failure_detail) == ("merged", "")
    assert serves(small) == revert.candidate_sha
    assert tree(small, revert.candidate_sha) == tree(small, healthy.candidate_sha)
    assert freezes.list_active_freezes() == []


@pytest.mark.parametrize("is_mixed", [True, pytest.param(False, marks=pytest.mark.full)])
def test_reverted_commit_is_not_shipped_by_a_retry(is_mixed, small, ships, ready_small):
    ships("gone/before")
    failed = ready_small("gone/one", {"gone.txt": "one"})
    (small.folder / "unhealthy").touch()
    ship(failed)
    branch = followed(small, failed, is_pushed=True)
    if is_mixed:  # then only an unfreeze lets it pass
        small.commit(branch, {"more.txt": "of the same branch"})
        merge_queue.unfreeze_shipping(settings.OROBOROS, actor="olga", reason="it is taken back")
    back = operations.create_run(title="take it back", branch=branch, actor="ada")
    execution.execute_run(back.pk)
    ship(back)
    assert back.status == "merged"
    again = operations.retry(failed, actor="ada")
    execution.execute_run(again.pk)
    with pytest.raises(Refused, match="revert the revert") as refused:
        ship(again)
    assert refused.value.code == "nothing_to_ship"
    assert small.remote_main() == serves(small) == back.candidate_sha
    assert freezes.list_active_freezes() == []


def test_merged_commit_is_not_deployed_again_by_a_retry(small, ships, ready_small):
    merged = ships("twice/merged")
    again = operations.retry(merged, actor="ada")
    execution.execute_run(again.pk)
    with pytest.raises(Refused, match="contains this commit"):
        ship(again)


@pytest.mark.parametrize("is_changed", [True, pytest.param(False, marks=pytest.mark.full)])
def test_revert_of_a_run_and_its_failed_retry_ships(is_changed, small, ships, ready_small):
    healthy = ships("chain/before")
    first = ready_small("chain/one")
    (small.folder / "unhealthy").touch()
    ship(first)
    if is_changed:
        small.commit(first.branch, {"fixed.txt": "not really"})
    second = operations.retry(first, actor="ada")
    execution.execute_run(second.pk)
    (small.folder / "unhealthy").touch()
    ship(second)
    assert [one.run for one in freezes.list_active_freezes()] == [second, first]
    branch = followed(small, second, is_pushed=True)
    revert = operations.create_run(title="take it all back", branch=branch, actor="ada")
    execution.execute_run(revert.pk)
    ship(revert)
    assert (revert.status, revert.failure_detail) == ("merged", "")
    assert serves(small) == revert.candidate_sha
    assert tree(small, revert.candidate_sha) == tree(small, healthy.candidate_sha)
    assert not freezes.list_active_freezes()


@pytest.mark.django_db
def test_merge_chain_ends_where_another_run_was_merged():
    first = RunFactory(status="failed", base_sha="a" * 40, candidate_sha="b" * 40)
    unmerged = RunFactory(status="failed", parent=first, base_sha="b" * 40, candidate_sha="c" * 40)
    second = RunFactory(status="failed", parent=unmerged, base_sha="b" * 40, candidate_sha="d" * 40)
    assert second.list_merge_chain() == [second, first]
    later = RunFactory(status="failed", parent=second, base_sha="e" * 40, candidate_sha="f" * 40)
    assert later.list_merge_chain() == [later]


def followed(world, failed, *, is_pushed):
    """Do by hand what the guidance says to take a failed deploy back; returns the branch."""
    lines = failed.next_action.splitlines()
    assert lines == failed.events.get(kind="rollback_guidance").text.splitlines()[1:]
    first = lines[0].rpartition(": ")[2]
    assert (not first.startswith("git ")) == is_pushed
    if not is_pushed:
        subprocess.run(shlex.split(first), check=True, capture_output=True)
    [back] = [line for line in lines if line.startswith("To revert it: ")]
    command = back.removeprefix("To revert it: ").partition(";")[0]
    world.git("reset", "-q", "--hard", cwd=world.clone)
    env = {**GIT, "GIT_EDITOR": "true"}
    subprocess.run(["sh", "-ec", command], cwd=world.clone, env=env, check=True)
    branch = world.git("branch", "--show-current", cwd=world.clone)
    world.git("push", "-q", "origin", branch, cwd=world.clone)
    return branch


def tree(world, commit):
    return world.git("rev-parse", f"{commit}^{{tree}}", cwd=world.config.var / "repo.git")


def test_concurrent_approvals_of_one_run_count_once(small, ready_small):
    run = ready_small("twice/approved")
    operations.approve(run, actor="grace")
    with pytest.raises(Refused) as refusal:
        operations.approve(run, actor="bob")
    assert refusal.value.code == "not_ready"
    execution.execute_run(run.pk)
    execution.execute_run(run.pk)  # a second task
    run.refresh_from_db()
    assert (run.status, run.approvals.count(), run.approvals.get().actor) == ("merged", 1, "grace")


@pytest.mark.django_db
def test_run_that_is_being_stopped_cannot_be_approved():
    run = RunFactory(status="preview_ready", stop_status="canceled")
    with pytest.raises(Refused) as refusal:
        operations.approve(run, actor="grace")
    run.refresh_from_db()
    assert refusal.value.code == "already_stopping"
    assert (run.status, run.approvals.count()) == ("preview_ready", 0)


def ship(run):
    run.refresh_from_db()
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()


def serves(world):
    return world.get(world.config.web_port, "/api/health").text


@pytest.mark.django_db
def test_commands_freeze_and_unfreeze_shipping(capsys):
    run = approved(1)
    call_command("freeze", reason="a demo", hours=2)
    assert merge_queue.get_next_run(settings.OROBOROS) is None
    assert "frozen until" in capsys.readouterr().out
    call_command("unfreeze", reason="it is over")
    assert merge_queue.get_next_run(settings.OROBOROS) == run
    with pytest.raises(CommandError, match="Say why"):
        call_command("unfreeze", reason=" ")


@pytest.mark.full
def test_a_prepared_revert_ships_after_a_rollback_and_ends_its_freeze(small, ships, ready_small):
    kept, left = ships("rolled/kept"), ships("rolled/left")
    deploy_and_rollback.roll_back(
        small.config, kept.release_id, actor="olga", reason="the login is broken"
    )
    waiting = ready_small("rolled/waiting")
    ship(waiting)
    assert waiting.status == "approved"
    revert, _ = reverts.create_revert_run(small.config, actor="ada")
    execution.execute_run(revert.pk)
    ship(revert)
    assert (revert.status, revert.failure_detail) == ("merged", "")
    assert serves(small) == small.remote_main() == revert.candidate_sha
    assert tree(small, revert.candidate_sha) == tree(small, kept.candidate_sha)
    assert tree(small, left.candidate_sha) != tree(small, kept.candidate_sha)
    assert freezes.list_active_freezes() == []
    execution.execute_run(waiting.pk)
    waiting.refresh_from_db()
    assert waiting.status == "merged"
