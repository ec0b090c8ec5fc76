"""The steps of a deployment by themselves: what they say, write, call and leave, in which order."""

import shlex

import pytest

from core import claims
from host.errors import Refused
from host.files.surface_folder import NO_ROUTES
from host.units.unit import HealthCheck
from releases.builds.build_folders import public_folder
from releases.deployments import deploy_and_rollback, deployment_steps
from releases.deployments.deployment_steps import DeploymentFailed
from releases.models import Deployment, DeploymentInProgress, Release
from releases.processes import background, keeping
from releases.production import (
    colours,
    current_link,
    draining,
    health_gate,
    migration,
    previous_assets,
)
from releases.production.colours import Unhealthy
from releases.production.deployment_context import deployment_log_path
from releases.rules import DeploymentKind, DeploymentOutcome, ReleaseStatus, format_rollback_command
from tests.releases.production_state import make_release

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_renewal(monkeypatch):
    """The thread that renews a claim does not see the rows of the test's transaction."""
    monkeypatch.setattr(claims, "RENEW_SECONDS", 3600.0)


@pytest.fixture
def calls(monkeypatch):
    """The calls of replaced functions in their order, and how to replace one by its result."""
    made = []

    def replace(module, name, result=None):
        def call(*arguments, **options):
            made.append((name, *arguments, *options.items()))
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(module, name, call)

    return made, replace


def begin(release, kind=DeploymentKind.ROLLBACK, **fields):
    return deploy_and_rollback.begin_deployment(
        release.pk, kind=kind, actor="bob", reason="a test", **fields
    )


def read_log(config, deployment):
    return deployment_log_path(config, deployment).read_text().splitlines()


def undo(config, deployment, reason="it is sick"):
    """Undo the deployment; returns what was raised."""
    with (
        pytest.raises(DeploymentFailed) as failed,
        deployment_steps.claim_deployment(config, deployment) as context,
    ):
        deployment_steps.undo_deployment(context, reason)
    return failed.value


# -- the claim ------------------------------------------------------------------------------------


def test_a_deployment_that_another_process_has_is_not_claimed(config, releases):
    deployment = begin(releases[0])
    assert Deployment.objects.running().claim(deployment.number, "another process")
    with (
        pytest.raises(DeploymentInProgress) as refused,
        deployment_steps.claim_deployment(config, deployment, wait=0),
    ):
        pass
    assert refused.value.detail == f"Another process works on {deployment}."


def test_a_deployment_that_ended_meanwhile_is_not_claimed(config, releases):
    deployment = begin(releases[0])
    ended = Deployment.objects.get(pk=deployment.pk)
    ended.fail(Deployment.objects.running().claim(ended.number, "a"), "failed", "It failed.", [])
    with deployment_steps.claim_deployment(config, deployment, wait=0) as context:
        assert context is None
    assert deployment.is_over


# -- to the switch and beyond ---------------------------------------------------------------------


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("kind", [DeploymentKind.DEPLOY, DeploymentKind.ROLLBACK])
def test_the_steps_follow_each_other_and_say_so(config, releases, calls, kind, is_gated):
    made, replace = calls
    for module, name in (
        (migration, "migrate"),
        (migration, "record_schema_changes"),
        (draining, "wait_until_replaceable"),
        (colours, "start_colour"),
        (health_gate, "run_reload_hook"),
        (health_gate, "watch_health"),
        (background, "replace"),
        (keeping, "forget_restarts"),
    ):
        replace(module, name)
    deployment = begin(releases[0], kind, is_gated=is_gated)
    said = []
    with deployment_steps.claim_deployment(config, deployment, progress=said.append) as context:
        deployment_steps.switch_to_release(context)
        assert current_link.read(config).number == deployment.number
        deployment_steps.finish_deployment(context)
    migrations = [("migrate", context), ("record_schema_changes", context)]
    assert made == [
        *(migrations if kind == DeploymentKind.DEPLOY else []),
        ("wait_until_replaceable", context),
        ("start_colour", context, deployment),
        ("replace", config, releases[0]),
        ("forget_restarts", config),
        *([("run_reload_hook", context), ("watch_health", context)] if is_gated else []),
    ]
    gate = ["reloading the backend", "health gate"]
    start = [f"starting {releases[0]} as {deployment.colour}", "switching"]
    assert said == [*start, *(gate if is_gated else [])]
    nothing = "No file of the backend changed: no reload, no health gate."
    assert read_log(config, deployment) == [
        *start,
        f"{releases[0]} is live as {deployment}",
        *(gate if is_gated else [nothing]),
        f"{releases[0]} is healthy",
    ]
    deployment.refresh_from_db()
    assert (deployment.outcome, deployment.detail) == (DeploymentOutcome.SUCCEEDED, "")


def test_the_link_of_a_release_with_a_backend_says_where_its_health_is_asked(
    config, releases, calls
):
    _, replace = calls
    replace(draining, "wait_until_replaceable")
    replace(colours, "start_colour")
    replace(colours, "read_health_check", HealthCheck("/up", host="app.example"))
    deployment = begin(releases[0])
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
    assert current_link.read(config).health_url == "app.example/up"


@pytest.mark.parametrize("has_backend", [False, True])
def test_the_link_folder_has_what_the_release_serves(config, releases, calls, has_backend):
    made, replace = calls
    deployment, release = Deployment.objects.latest_switch_to(releases[2]), releases[2]
    replace(colours, "read_live_routes", "routes")
    replace(deployment_steps, "read_fallback", "fallback")
    replace(previous_assets, "find_previous_assets", "assets")
    replace(current_link, "write")
    check = HealthCheck("/up", host="app.example", is_guess=True) if has_backend else None
    deployment_steps.write_link_folder(config, deployment, check)
    routes = ("read_live_routes", config, release, deployment.colour)
    *asked, (_, given, live, public, assets) = made
    assert asked == [
        *([routes] if has_backend else []),
        ("read_fallback", config, release.pk),
        ("find_previous_assets", config, deployment),
    ]
    assert (given, public, assets) == (config, public_folder(config, release.pk), "assets")
    address = colours.address(config, deployment.colour)
    assert (live.number, live.address, live.commit) == (
        deployment.number,
        address,
        release.commit_sha,
    )
    assert (live.routes, live.fallback) == ("routes" if has_backend else NO_ROUTES, "fallback")
    assert live.health_url == ("app.example/up" if has_backend else None)
    assert (live.is_health_guess, live.is_https) == (has_backend, False)


# -- background processes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "units", "said"),
    [
        (["worker", "beat"], [], ["background processes: worker, beat"]),
        ([], ["ouroboros-app-process@old"], ["background processes: none"]),
        ([], [], []),
    ],
)
def test_background_processes_that_start_or_stop_are_named(
    config, releases, calls, names, units, said
):
    made, replace = calls
    replace(background, "list_names", names)
    replace(background, "list_units", units)
    replace(background, "replace")
    deployment = begin(releases[0])
    log = deployment_log_path(config, deployment)
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps._replace_processes(context, deployment)
        assert made[0] == ("list_names", config, releases[0])
        assert made[-1] == ("replace", config, releases[0])
        assert (read_log(config, deployment) if log.exists() else []) == said
        del made[:]
        deployment_steps._replace_processes(context, None)
        assert made == [("list_units", config), ("replace", config, None)]


@pytest.mark.parametrize(
    ("code", "has_deployment", "is_unhealthy"),
    [("process_died", True, True), ("process_died", False, False), ("disk_full", True, False)],
)
def test_a_background_process_that_dies_is_no_refusal(
    config, releases, calls, code, has_deployment, is_unhealthy
):
    made, replace = calls
    replace(background, "replace", Refused(code, "worker died"))
    replace(colours, "explain_start", "worker died: explained")
    deployment = begin(releases[0])
    with deployment_steps.claim_deployment(config, deployment) as context:
        with pytest.raises(Unhealthy if is_unhealthy else Refused) as raised:
            deployment_steps._replace_processes(context, deployment if has_deployment else None)
        if is_unhealthy:
            assert str(raised.value) == "worker died: explained"
            assert made[-1] == ("explain_start", context, deployment, "worker died")
        else:
            assert raised.value.code == code


# -- undoing --------------------------------------------------------------------------------------


def test_a_first_release_that_fails_before_its_switch_leaves_nothing_live(config):
    release = make_release(config, "d")
    deployment = begin(release, DeploymentKind.DEPLOY)
    failed = undo(config, deployment)
    assert failed.detail == "it is sick Nothing was switched; Nothing was live before."
    assert (failed.deployment, failed.is_stuck) == (deployment, False)
    assert str(failed) == failed.detail
    log = shlex.quote(str(colours.log_path(config, deployment.colour)))
    commands = [f"tail -n 200 {log}", "./scripts/runtime-health-check.sh"]
    assert failed.guidance == [*commands, f"./scripts/deploy.sh {release.commit_sha}"]
    assert read_log(config, deployment) == ["failed: it is sick", failed.detail, *failed.guidance]


def test_a_first_release_that_fails_after_its_switch_leaves_nothing_live(config, calls):
    made, replace = calls
    deployment = begin(make_release(config, "d"), DeploymentKind.DEPLOY)
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.write_link_folder(config, deployment, None)
        deployment_steps._switch_current_link(context)
    replace(background, "replace")
    failed = undo(config, deployment)
    assert failed.detail == "it is sick Nothing was live before, and nothing is now."
    assert failed.deployment.outcome == DeploymentOutcome.FAILED
    assert current_link.read(config) is None
    assert made == [("replace", config, None)]


def test_a_link_that_was_switched_before_the_row_is_switched_back(config, releases, calls):
    _, replace = calls
    replace(health_gate, "check_health")
    deployment, before = begin(releases[0]), current_link.read(config)
    deployment_steps.write_link_folder(config, deployment, None)
    current_link.switch(config, deployment.number)
    failed = undo(config, deployment)
    assert failed.deployment.outcome == DeploymentOutcome.RESTORED
    assert failed.detail == f"it is sick {releases[2]} is live again."
    assert current_link.read(config) == before
    assert Release.objects.live() == releases[2]


@pytest.mark.parametrize("is_gated", [False, True])
def test_the_way_back_runs_the_steps_of_a_deployment_for_the_release_before(
    config, releases, calls, is_gated
):
    made, replace = calls
    deployment = begin(releases[0], is_gated=is_gated)
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
    for module, name in (
        (colours, "start_colour"),
        (background, "replace"),
        (health_gate, "run_reload_hook"),
        (health_gate, "wait_until_restored"),
    ):
        replace(module, name)
    undo(config, deployment)
    [start, *others] = made
    context, before = start[1:]
    assert (context.deployment, before.release) == (deployment, releases[2])
    assert others == [
        ("replace", config, releases[2]),
        *([("run_reload_hook", context, ("is_undo", True))] if is_gated else []),
        ("wait_until_restored", context, before),
    ]


UNHEALTHY, REFUSED = Unhealthy("it crashed"), Refused("disk_full", "it crashed")
ERROR = OSError("it crashed")


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        ("start", UNHEALTHY),
        ("start", REFUSED),
        ("start", ERROR),
        ("processes", REFUSED),
        ("gate", UNHEALTHY),
    ],
)
def test_a_way_back_that_fails_leaves_the_release_before_and_says_so(
    config, releases, calls, caplog, point, fault
):
    made, replace = calls
    deployment = begin(releases[0])
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
    if point == "start":
        replace(colours, "start_colour", fault)
    if point in ("start", "processes"):
        replace(background, "replace", fault)
    replace(health_gate, "wait_until_restored", fault)
    failed = undo(config, deployment)
    assert failed.is_stuck
    assert failed.detail == f"it is sick {releases[2]} is live again and not healthy: it crashed"
    [record] = [one for one in caplog.records if one.levelname == "CRITICAL"]
    assert record.getMessage().endswith(f"deployment {deployment.number}: {failed.detail}")
    assert Release.objects.live() == releases[2]
    assert current_link.read(config).commit == releases[2].commit_sha
    assert Release.objects.get(pk=releases[0].pk).status == ReleaseStatus.STUCK
    # Its background processes are tried although its backend did not start.
    assert (("replace", config, releases[2]) in made) is (point != "gate")


@pytest.mark.parametrize("reason", [deployment_steps.TOO_MANY_ATTEMPTS, "it is sick"])
def test_a_switched_deployment_is_undone_and_not_finished(config, releases, calls, reason):
    _, replace = calls
    replace(health_gate, "check_health")
    deployment = begin(releases[0], is_gated=False)
    with deployment_steps.claim_deployment(config, deployment) as context:
        deployment_steps.switch_to_release(context)
        if reason == "it is sick":  # and the process that undid it died
            deployment.start_undo(context.claim, reason)
        else:
            Deployment.objects.update(attempts=2 * claims.MAX_ATTEMPTS)
    with (
        pytest.raises(DeploymentFailed) as failed,
        deployment_steps.claim_deployment(config, deployment) as context,
    ):
        deployment_steps.finish_deployment(context)
    assert failed.value.detail == f"{reason} {releases[2]} is live again."


# -- what a person does then ----------------------------------------------------------------------


@pytest.mark.parametrize("restore", ["", "./scripts/restore.sh 1"])
@pytest.mark.parametrize("outcome", [DeploymentOutcome.FAILED, DeploymentOutcome.STUCK])
def test_a_stuck_production_is_rolled_back_to_one_of_the_last_two_others(
    config, releases, outcome, restore
):
    others, live = [make_release(config, digit) for digit in "def"], releases[2]
    for number, release in enumerate(others):
        activated_at = f"2026-01-0{number + 1}T00:00Z"
        Release.objects.filter(pk=release.pk).update(
            healthy_at=activated_at, activated_at=activated_at
        )
    Release.objects.filter(pk=releases[1].pk).update(removed_at=live.built_at)
    deployment = begin(releases[0])
    Release.objects.filter(pk=releases[0].pk).update(restore_command=restore)
    with deployment_steps.claim_deployment(config, deployment) as context:
        commands = deployment_steps.list_next_commands(context, outcome)
    logs = [colours.log_path(config, deployment.colour)]
    logs += [colours.log_path(config, Deployment.objects.latest_switch_to(live).colour)]
    new, old = (f"tail -n 200 {shlex.quote(str(log))}" for log in logs)
    last = [format_rollback_command(one.pk) for one in reversed(others[1:])]
    assert commands == [
        new,
        "./scripts/runtime-health-check.sh",
        *([old, *last] if outcome == DeploymentOutcome.STUCK else []),
        *([restore] if restore else []),
    ]


def test_without_a_release_before_no_other_log_is_named(config):
    deployment = begin(make_release(config, "d"), DeploymentKind.DEPLOY)
    with deployment_steps.claim_deployment(config, deployment) as context:
        commands = deployment_steps.list_next_commands(context, DeploymentOutcome.STUCK)
    assert len(commands) == 3
    assert commands[-1] == f"./scripts/deploy.sh {deployment.release.commit_sha}"
