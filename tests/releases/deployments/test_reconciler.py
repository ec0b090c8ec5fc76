"""What the reconciler repairs: interrupted deployments, the current link, colours, old builds."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings

from core.clock import ClockTimestamp
from host.deadline import wait_until
from host.files.surface_folder import SurfaceFolder
from host.units import managers
from host.units.unit import HealthCheck
from releases.builds.build_folders import build_folder, source_folder
from releases.deployments import deploy_and_rollback, deployment_steps, reconciler, rollback_plan
from releases.deployments.deploy_commit import deploy_commit
from releases.models import Deployment, Release
from releases.production import colours, current_link
from tests.environment import free_port
from tests.factories import DeploymentFactory
from tests.releases.production_state import (
    assert_consistent,
    deploy,
    expire_claims,
    make_release,
    run_and_kill,
    subprocess_environment,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    ("point", "when"),
    [
        ("releases.production.current_link:switch", "before"),
        ("releases.production.current_link:switch", "after"),
    ],
)
def test_reconciler_finishes_a_killed_rollback(point, when, config, repo, web):
    first, _ = deploy_commit(config, repo.commit("one"), actor="ann", reason="first")
    deploy_commit(config, repo.commit("two"), actor="ann", reason="second")
    run_and_kill(point, when, "rollback", first.pk)
    # Its claim has not expired: the process may still work.
    assert "was interrupted" not in " ".join(reconciler.reconcile(config))
    expire_claims()
    assert "was interrupted" in reconciler.reconcile(config, dry_run=True)[0]
    reconciler.reconcile(config)
    assert_consistent(config, first, web)
    assert reconciler.reconcile(config) == []


def test_killed_rollback_and_killed_backend_production_serves_again(config, repo, web):
    first, _ = deploy_commit(config, repo.commit("one"), actor="ann", reason="first")
    deploy_commit(config, repo.commit("two"), actor="ann", reason="second")
    run_and_kill("releases.models:Deployment.go_live", "after", "rollback", first.pk)
    kill_live_colour(config)
    # The claim of the killed process is still valid: nothing is continued, and production serves.
    name = colours.unit_name(colours.get_live_colour(config))
    assert reconciler.reconcile(config) == [f"{name} of {first} did not run", f"{name} was started"]
    assert first.commit_sha in web.get("/api/version")[2]
    assert reconciler.reconcile(config) == []
    Deployment.objects.running().update(claim_expires_at=ClockTimestamp())
    assert "was interrupted" in reconciler.continue_interrupted_deployments(config)[0]
    assert_consistent(config, first, web)


def test_serving_colour_is_started_while_a_deployment_starts_the_other(config, web, two_releases):
    deploy_and_rollback.begin_deployment(
        two_releases[0].pk, kind="rollback", actor="bob", reason="a test"
    )
    with colours.lock_colours(config):  # as while the other colour starts
        kill_live_colour(config)
        reconciler.repair_production(config)
        assert two_releases[1].commit_sha in web.get("/api/version")[2]


def test_serving_colour_is_started_while_another_process_holds_the_colours(
    config, web, two_releases
):
    with colours.lock_colours(config):  # as while an idle colour takes its time to stop
        kill_live_colour(config)
        reconciler.repair_production(config)
        assert two_releases[1].commit_sha in web.get("/api/version")[2]


def test_backend_that_dies_in_its_health_gate_fails_although_it_is_started_again(
    config, web, two_releases, monkeypatch
):
    def kill_and_repair(seconds):
        monkeypatch.undo()
        kill_live_colour(config)
        assert "was started" in reconciler.repair_production(config)[-1]

    config.environ["DEPLOY_HEALTH_SECONDS"] = "30"
    deployment = deploy_and_rollback.begin_deployment(
        two_releases[0].pk, kind="rollback", actor="bob", reason="a test"
    )
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
        monkeypatch.setattr("releases.production.health_gate.time.sleep", kill_and_repair)
        with pytest.raises(deployment_steps.DeploymentFailed, match="ended and was started again"):
            deployment_steps.finish_deployment(context)
    assert_consistent(config, two_releases[1], web)


def kill_live_colour(config):
    name, manager = colours.unit_name(colours.get_live_colour(config)), managers.get_manager(config)
    os.kill(manager.status(name).pid, signal.SIGKILL)
    assert wait_until(lambda: not manager.status(name).is_active, seconds=60)


def test_deploy_ended_by_sigterm_is_finished_by_the_reconciler(config, repo, web):
    deploy(config, repo.commit("one"))
    commit = repo.commit("two")
    env = subprocess_environment() | {"DEPLOY_HEALTH_SECONDS": "300"}
    child = subprocess.Popen([sys.executable, "manage.py", "deploy", commit], env=env)
    wait_until(lambda: web.get()[1] == commit or child.poll() is not None, seconds=120)
    assert child.poll() is None and web.get()[1] == commit
    child.terminate()
    child.wait(60)
    assert web.get()[1] == commit
    expire_claims()
    reconciler.reconcile(config)
    assert_consistent(config, Release.objects.get(commit_sha=commit), web)


def test_live_colour_that_died_is_started_again(config, web, two_releases):
    name = colours.unit_name(colours.get_live_colour(config))
    kill_live_colour(config)
    repairs = reconciler.reconcile(config)
    assert repairs == [f"{name} of {two_releases[1]} did not run", f"{name} was started"]
    assert_consistent(config, two_releases[1], web)
    assert reconciler.reconcile(config) == []


def test_invalid_setting_does_not_stop_the_reconciler(config, web, two_releases):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "soon"
    name = colours.unit_name(colours.get_live_colour(config))
    managers.get_manager(config).stop(name)
    assert reconciler.reconcile(config)[-1] == f"{name} was started"
    assert_consistent(config, two_releases[1], web)


def test_draining_colour_is_stopped_only_after_its_time(config, web, two_releases):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "300"
    deployment = deploy_and_rollback.begin_deployment(
        two_releases[0].pk, kind="rollback", actor="bob", reason="a test"
    )
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
        deployment_steps.finish_deployment(context)
    assert reconciler.reconcile(config) == []
    assert len(managers.get_manager(config).list_names()) == 2
    config.environ["DEPLOY_DRAIN_SECONDS"] = "0"
    Deployment.objects.update(ended_at=deployment.started_at - timedelta(hours=1))
    assert "ran without serving: stopped" in reconciler.reconcile(config)[0]
    assert_consistent(config, Release.objects.get(pk=two_releases[0].pk), web)


def test_live_colour_that_does_not_start_is_reported(config, web, two_releases):
    name = colours.unit_name(colours.get_live_colour(config))
    managers.get_manager(config).stop(name)
    server = source_folder(config, two_releases[1].pk) / "backend" / "server.py"
    server.chmod(0o644)
    server.write_text("raise SystemExit(3)")
    repairs = reconciler.reconcile(config)
    assert repairs[0].endswith("did not run") and "did not come up" in repairs[1]
    assert Release.objects.live() == two_releases[1]
    assert rollback_plan.find_rollback_target() == two_releases[0]


def test_current_link_is_switched_to_the_live_release(config, releases):
    wanted = current_link.read(config)
    current_link.switch(config, Deployment.objects.order_by("number").first().number)
    assert "the current link named" in reconciler.reconcile(config, dry_run=True)[0]
    assert current_link.read(config) != wanted
    reconciler.reconcile(config)
    assert current_link.read(config) == wanted
    assert reconciler.reconcile(config) == []


def test_a_colour_whose_port_moved_is_served_at_its_new_port(config, web, releases):
    wanted = current_link.read(config)
    with SurfaceFolder(config.var).write_version(replace(wanted, address="127.0.0.1:9")):
        pass
    assert "at 127.0.0.1:9; it names" in reconciler.reconcile(config)[0]
    assert current_link.read(config).address == wanted.address
    assert reconciler.reconcile(config) == []


def test_a_running_colour_whose_port_moved_is_started_again_at_its_new_port(
    config, web, two_releases
):
    moved = replace(config, colour_ports=(free_port(), free_port()))
    assert "the current link named" in reconciler.reconcile(moved)[0]
    assert wait_until(lambda: web.get("/api/version")[0] == 200, seconds=60)
    assert reconciler.reconcile(moved) == []
    assert_consistent(moved, two_releases[1], web)


def test_missing_current_link_is_restored(config, releases):
    wanted = current_link.read(config)
    current_link.clear(config)
    (current_link.deployment_folder(config, wanted.number) / "live").unlink()
    reconciler.reconcile(config)
    assert current_link.read(config) == wanted


def test_old_builds_are_removed_except_the_last_healthy_ones(config, releases):
    config.environ["RELEASES_KEEP"] = "2"
    stray = build_folder(config, "r-20200101000000-abcdef012345")
    stray.mkdir()
    (config.var / "releases" / f".{releases[0].commit_sha}.lock").touch()
    repairs = reconciler.reconcile(config)
    assert repairs == [f"build of {releases[0]} removed (retired)"]
    left = sorted(path.name for path in (config.var / "releases").iterdir())
    assert left == [releases[1].pk, releases[2].pk]
    assert len(list((config.var / "activations").iterdir())) == 2
    assert reconciler.reconcile(config) == []


def test_the_dump_of_a_removed_build_is_removed_with_it(config, releases):
    config.environ["RELEASES_KEEP"] = "1"
    dump = config.var / "before.dump"
    dump.write_text("rows")
    Release.objects.filter(pk=releases[0].pk).update(restore_point="before.dump")
    Release.objects.filter(pk=releases[1].pk).update(restore_point="lost.dump")
    reconciler.reconcile(config)
    assert not dump.exists()
    assert Release.objects.filter(removed_at=None).get() == releases[2]


def test_a_dry_run_continues_no_deployment(db):
    deployment = DeploymentFactory(
        outcome="running", ended_at=None, claim_expires_at="2026-01-01T00:00Z"
    )
    before = Deployment.objects.values().get()
    found = reconciler.continue_interrupted_deployments(settings.OROBOROS, dry_run=True)
    assert found == [f"{deployment} of {deployment.release} was interrupted: continued"]
    assert Deployment.objects.values().get() == before


@pytest.mark.parametrize("is_https", [False, True])
def test_the_current_link_says_how_its_backend_is_asked(config, releases, is_https):
    deployment = Deployment.objects.latest_switch_to(releases[2])
    check = HealthCheck("/up", host="app.example", is_guess=is_https, is_https=is_https)
    deployment_steps.write_link_folder(config, deployment, check)
    live = current_link.read(config)
    assert (live.number, live.commit) == (deployment.pk, releases[2].commit_sha)
    assert (live.health_url, live.is_health_guess) == ("app.example/up", is_https)
    assert live.is_https is is_https


def test_without_a_live_release_the_current_link_names_none(config, releases):
    number = current_link.read(config).number
    Release.objects.update(status="retired")
    text = f"the current link named {number}, but no release is live: removed"
    assert reconciler.reconcile(config, dry_run=True) == [text]
    assert reconciler.reconcile(config) == [text]
    assert current_link.read(config) is None
    assert reconciler.reconcile(config) == []


def test_the_unit_of_a_colour_whose_build_is_gone_is_missed(config, releases):
    live = Deployment.objects.latest_switch_to(releases[2])
    assert reconciler._list_dead(config, live) == []
    build = build_folder(config, releases[2].pk)
    # Beside it: only root may move a read-only folder into another one.
    build.rename(build.with_name("elsewhere"))
    assert reconciler._list_dead(config, live) == [colours.unit_name(live.colour)]


def test_a_build_that_begins_during_the_removal_of_old_ones_is_kept(config, releases, monkeypatch):
    begun, exists = [], Path.exists

    def begin_build(path, **options):
        if path == config.var / "releases" and not begun:
            begun.append(make_release(config, "d"))
        return exists(path, **options)

    monkeypatch.setattr(Path, "exists", begin_build)
    reconciler.reconcile(config)
    assert [build_folder(config, release.pk).is_dir() for release in begun] == [True]


def test_build_that_waits_for_its_deployment_is_not_removed(config, releases):
    config.environ["RELEASES_KEEP"] = "1"
    waiting = make_release(config, "d")
    reconciler.reconcile(config)
    assert build_folder(config, waiting.pk).exists()
    Release.objects.filter(pk=waiting.pk).update(created_at="2020-01-01T00:00:00Z")
    reconciler.reconcile(config)
    assert not build_folder(config, waiting.pk).exists()
