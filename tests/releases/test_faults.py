"""What goes wrong around a release: what serves, what the registry says, what people are told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from host.errors import Refused
from host.process import runner
from host.units import managers
from releases.builds.build import BuildFailed
from releases.deployments import operations, reconciler, rollback_plan
from releases.deployments import switch as activations
from releases.deployments.manual_deploy import ship_commit
from releases.models import Activation, Release
from releases.production import app, current_link, database, health_gate
from releases.rules import ActivationOutcome, ReleaseStatus
from tests.releases.test_kills import assert_all_agrees, environment, let_claims_run_out

pytestmark = pytest.mark.django_db(transaction=True)


def ship(config, commit):
    return ship_commit(config, commit, actor="ann", reason="a test")[0]


def script(config, name, body):
    """Write a hook and return the command line that runs it."""
    path = config.var / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def two(config, repo, web):
    """A release that was live and the one that is."""
    return ship(config, repo.commit("one")), ship(config, repo.commit("two"))


def test_a_rollback_whose_gate_fails_restores_what_was_live(config, web, two):
    first, second = two
    check = script(config, "check", f"! grep -q {first.commit_sha} {config.var}/current/live")
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = check
    with pytest.raises(operations.ActivationFailed) as failed:
        operations.rollback(config, first.pk, actor="bob", reason="a try")
    assert not failed.value.is_stuck and f"{second} is live again" in failed.value.detail
    assert Activation.objects.first().outcome == ActivationOutcome.RESTORED
    assert_all_agrees(config, second, web)
    first.refresh_from_db()
    assert first.status == ReleaseStatus.RETIRED  # it was healthy once and stays a way back


def test_where_the_way_back_fails_too_it_is_stuck_and_said_so(
    config, web, two, monkeypatch, caplog
):
    first, second = two
    monkeypatch.setattr(health_gate, "SETTLE_SECONDS", 0.5)
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = "false"
    with pytest.raises(operations.ActivationFailed) as failed:
        operations.rollback(config, first.pk, actor="bob", reason="a try")
    assert failed.value.is_stuck
    assert any("tail -n 200" in line for line in failed.value.guidance)
    assert "production is stuck" in caplog.text
    first.refresh_from_db()
    assert first.status == ReleaseStatus.STUCK
    assert_all_agrees(config, second, web)
    assert reconciler.reconcile(config) == []  # no loop
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = ""
    operations.rollback(config, first.pk, actor="bob", reason="mended")
    assert_all_agrees(config, Release.objects.get(pk=first.pk), web)


def test_the_reload_hook_runs_after_the_switch_and_its_failure_takes_the_release_back(
    config, repo, web
):
    calls = config.var / "calls"
    body = f"cut -d' ' -f3 {config.var}/current/live >> {calls}; ! grep -q two {config.var}/bad"
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = script(config, "reload", body)
    (config.var / "bad").write_text("none")
    first = ship(config, repo.commit("one"))
    assert calls.read_text().split() == [first.commit_sha]
    reload_two = f"{body} || ! grep -q {repo.commit('two')} {config.var}/current/live"
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = script(config, "reload", reload_two)
    (config.var / "bad").write_text("two")
    with pytest.raises(operations.ActivationFailed, match="reload hook ended with exit code 1"):
        ship(config, repo.head)
    assert calls.read_text().split() == [first.commit_sha, repo.head, first.commit_sha]
    assert_all_agrees(config, Release.objects.get(pk=first.pk), web)


def test_a_migration_that_outlived_its_worker_ends_before_the_next_one(config, web, two):
    activation = operations.begin(two[0].pk, kind="rollback", actor="bob", reason="a try")
    left = runner.spawn(
        ["sleep", "5051"],
        cwd=config.var,
        env={"PATH": os.defpath},
        user=None,
        log=config.var / "left.log",
        mark=f"activation:{activation.number}",
    )
    Activation.objects.filter(pk=activation.pk).update(claim_fence=1)
    with activations.carried(config, activation):
        assert not runner.alive(left)
    operations.confirm(config, activation)
    assert_all_agrees(config, Release.objects.get(pk=two[0].pk), web)


def test_colours_that_somebody_is_busy_with_fail_no_release(config, web, two, monkeypatch):
    monkeypatch.setattr(app, "idle_colours", busy)
    operations.rollback(config, two[0].pk, actor="bob", reason="a try")
    assert Activation.objects.first().outcome == ActivationOutcome.SUCCEEDED


def busy(config):
    raise Refused("unit_busy", "Another start or stop is under way; try again.")


def test_a_reload_hook_that_hangs_is_ended(config, web, two):
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = script(config, "reload", "sleep 60")
    config.environ["DEPLOY_BACKEND_RELOAD_TIMEOUT"] = "0.3"
    with pytest.raises(operations.ActivationFailed, match="took too long") as failed:
        operations.rollback(config, two[0].pk, actor="bob", reason="a try")
    assert failed.value.is_stuck  # the hook hung on the way back as well
    assert web.get()[1] == two[1].commit_sha


def test_a_health_check_that_hangs_is_ended_after_its_own_time(config, web, two):
    check = f"! grep -q {two[0].commit_sha} {config.var}/current/live || sleep 60"
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_CMD"] = script(config, "check", check)
    config.environ["DEPLOY_BACKEND_HEALTHCHECK_TIMEOUT"] = "0.3"
    begun = time.monotonic()
    with pytest.raises(operations.ActivationFailed, match="health check took too long"):
        operations.rollback(config, two[0].pk, actor="bob", reason="a try")
    assert time.monotonic() - begun < 15
    assert_all_agrees(config, two[1], web)


@pytest.mark.parametrize("switched", [False, True])
def test_a_hook_that_cannot_be_read_has_all_undone(switched, config, web, two):
    activation = operations.begin(two[0].pk, kind="rollback", actor="bob", reason="a test")
    if switched:
        with activations.carried(config, activation) as carrier:
            activations.advance_to_switch(carrier)
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = "a && b"
    with pytest.raises(
        operations.ActivationFailed, match=r"DEPLOY_BACKEND_RELOAD_CMD.*No hook was run"
    ):
        operations.confirm(config, activation)
    activation.refresh_from_db()
    assert activation.outcome == (ActivationOutcome.RESTORED if switched else "failed")
    assert_all_agrees(config, two[1], web)
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = ""
    operations.rollback(config, two[0].pk, actor="bob", reason="mended")
    assert_all_agrees(config, Release.objects.get(pk=two[0].pk), web)


def test_a_change_of_the_frontend_alone_skips_reload_and_gate(config, repo, web):
    ship(config, repo.commit("one"))
    config.environ["DEPLOY_BACKEND_RELOAD_CMD"] = "false"
    release = ship(config, repo.commit("one", **{"site/new.html": "new"}))
    assert Activation.objects.first().is_gated is False
    assert (release.status, web.get("/new.html")[2]) == (ReleaseStatus.LIVE, "new")


def test_a_colour_that_dies_is_started_again_by_the_reconciler(config, web, two):
    name = app.unit_name(app.live_colour(config))
    os.kill(managers.manager(config).status(name).pid, signal.SIGKILL)
    time.sleep(0.1)
    told = reconciler.reconcile(config)
    assert told == [f"{name} of {two[1]} did not run", f"{name} was started"]
    assert_all_agrees(config, two[1], web)
    assert reconciler.reconcile(config) == []


def test_a_setting_that_cannot_be_read_keeps_the_reconciler_from_nothing(config, web, two):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "soon"
    name = app.unit_name(app.live_colour(config))
    managers.manager(config).stop(name)
    assert reconciler.reconcile(config)[-1] == f"{name} was started"
    assert_all_agrees(config, two[1], web)


def test_the_reconciler_leaves_a_colour_that_drains_alone(config, web, two):
    config.environ["DEPLOY_DRAIN_SECONDS"] = "30"
    activation = operations.begin(two[0].pk, kind="rollback", actor="bob", reason="a test")
    with activations.carried(config, activation) as carrier:
        activations.advance_to_switch(carrier)
        activations.advance_to_end(carrier)
    assert reconciler.reconcile(config) == []
    assert len(managers.manager(config).names()) == 2
    config.environ["DEPLOY_DRAIN_SECONDS"] = "0"
    Activation.objects.update(ended_at=activation.started_at - timedelta(hours=1))
    assert "ran without serving: stopped" in reconciler.reconcile(config)[0]
    assert_all_agrees(config, Release.objects.get(pk=two[0].pk), web)


def test_a_colour_that_does_not_come_up_again_is_told(config, web, two):
    name = app.unit_name(app.live_colour(config))
    managers.manager(config).stop(name)
    server = app.tree(config, two[1].pk) / "backend" / "server.py"
    server.chmod(0o644)
    server.write_text("raise SystemExit(3)")
    told = reconciler.reconcile(config)
    assert told[0].endswith("did not run") and "did not come up" in told[1]
    assert Release.objects.live() == two[1]  # what an operator sees is what is so
    assert rollback_plan.offered() == two[0]


def test_a_release_command_that_fails_changes_nothing_else(config, repo, web):
    first = ship(config, repo.commit("one"))
    bad = {"backend/migrations/0002_bad.sql": "ALTER TABLE nothing ADD x int;\n"}
    with pytest.raises(operations.ActivationFailed, match="`release:` on production") as failed:
        ship(config, repo.commit("two", **bad))
    release = Release.objects.get(commit_sha=repo.head)
    assert (release.status, release.migrated_at) == (ReleaseStatus.FAILED, None)
    assert release.restore_command in failed.value.guidance
    assert_all_agrees(config, first, web)


def test_a_migration_is_noted_though_its_colour_never_comes_up(config, repo, web):
    first = ship(config, repo.commit("one"))
    more = {
        "backend/migrations/0002_more.sql": "CREATE TABLE IF NOT EXISTS more (x int);\n",
        "backend/server.py": "raise SystemExit(3)\n",
    }
    with pytest.raises(operations.ActivationFailed):
        ship(config, repo.commit("two", **more))
    release = Release.objects.get(commit_sha=repo.head)
    assert release.migrated_at is not None
    assert [change["kind"] for change in release.schema_changes] == ["adds"]
    assert not list((config.var / "restore").glob("*.schema.sql"))
    assert_all_agrees(config, first, web)


def test_a_deploy_with_migrations_leaves_a_restore_point_that_restores(config, repo, web):
    first = ship(config, repo.commit("one"))
    with psycopg.connect(database.url(config)) as link:
        link.execute("INSERT INTO note (text) VALUES ('kept')")
    drop = "ALTER TABLE note DROP COLUMN IF EXISTS text;\nCREATE TABLE IF NOT EXISTS b (x int);\n"
    second = ship(config, repo.commit("two", **{"backend/migrations/0002_drop.sql": drop}))
    second.refresh_from_db()
    assert second.migrations == ["backend/migrations/0002_drop.sql"]
    assert any(change["kind"] == "drops" for change in second.schema_changes)
    assert (config.var / second.restore_point).stat().st_mode & 0o777 == 0o600
    assert second.restore_command == f"./scripts/release-registry.sh restore {second.pk}"

    with pytest.raises(operations.Refused) as refusal:
        operations.rollback(config, first.pk, actor="bob", reason="a try")
    assert refusal.value.code == "rollback_blocked_by_migration"
    assert f"rollback.sh {first.pk} --accept-schema" in refusal.value.detail
    assert_all_agrees(config, second, web)

    operations.rollback(config, first.pk, actor="bob", reason="accepted", accept_schema=True)
    database.restore(config, second)
    with psycopg.connect(database.url(config)) as link:
        assert link.execute("SELECT text FROM note").fetchall() == [("kept",)]
        assert link.execute("SELECT to_regclass('b')").fetchone() == (None,)
    assert_all_agrees(config, Release.objects.get(pk=first.pk), web)


def test_going_forward_again_crosses_nothing(config, repo, web):
    first = ship(config, repo.commit("one"))
    drop = "ALTER TABLE note DROP COLUMN IF EXISTS text;\n"
    second = ship(config, repo.commit("two", **{"backend/migrations/0002_drop.sql": drop}))
    operations.rollback(config, first.pk, actor="bob", reason="back", accept_schema=True)
    assert rollback_plan.preview(config, second).irreversible == []
    operations.rollback(config, second.pk, actor="bob", reason="and forward")
    assert_all_agrees(config, Release.objects.get(pk=second.pk), web)


def test_sigterm_in_the_middle_of_a_deploy_is_finished_later(config, repo, web):
    ship(config, repo.commit("one"))
    commit = repo.commit("two")
    env = environment() | {"DEPLOY_HEALTH_SECONDS": "30"}
    child = subprocess.Popen([sys.executable, "manage.py", "deploy", commit], env=env)
    deadline = time.monotonic() + 30
    while web.get()[1] != commit:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child.terminate()
    child.wait(10)
    assert web.get()[1] == commit
    let_claims_run_out()
    reconciler.reconcile(config)
    assert_all_agrees(config, Release.objects.get(commit_sha=commit), web)


def test_of_two_rollbacks_at_once_one_wins(config, repo, web, two):
    third = ship(config, repo.commit("three"))
    long = environment() | {"DEPLOY_HEALTH_SECONDS": "8"}  # so that they are at work together
    children = [
        subprocess.Popen(
            [sys.executable, "manage.py", "rollback", release.pk, "--reason", "a race"],
            env=long,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for release in two
    ]
    answers = [json.loads(child.communicate(timeout=60)[0]) for child in children]
    [winner] = [answer for answer in answers if answer["ok"]]
    [loser] = [answer for answer in answers if not answer["ok"]]
    assert loser["error"] == "activation_in_progress"
    assert winner["from_release_id"] == third.pk
    assert_all_agrees(config, Release.objects.get(pk=winner["release_id"]), web)


def test_an_application_of_files_alone_is_released(config, repo, web):
    files = {"oroboros.toml": '[frontend]\ndirectory = "site"\noutput = "."\n', "Procfile": None}
    without = {name: None for name in repo.files if name.startswith("backend/")}
    first = ship(config, repo.commit("one", **files, **without))
    second = ship(config, repo.commit("two"))
    assert (web.get()[1], "two" in web.get()[2]) == (second.commit_sha, True)
    operations.rollback(config, first.pk, actor="bob", reason="back")
    assert web.get()[1] == first.commit_sha
    assert managers.manager(config).names() == []


def test_an_application_without_a_frontend_is_served_by_its_backend(config, repo, web):
    commit = repo.commit("one", **{"oroboros.toml": '[backend]\ndirectory = "backend"\n'})
    ship(config, commit)
    status, shown, body = web.get("/anything")
    assert (status, shown, json.loads(body)["version"]) == (200, commit, "one")


def test_a_page_that_links_out_of_the_build_is_not_served(config, repo, web):
    """A build's output is copied as files: a link in it could name any file of the host."""
    build = "import os\nos.makedirs('out')\nos.symlink('/etc/passwd', 'out/x')\n"
    build += "open('out/index.html', 'w').write('hi')\n"
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    toml += '[backend]\ndirectory = "backend"\n'
    ship(config, repo.commit("one", **{"site/build.py": build, "oroboros.toml": toml}))
    assert web.get("/x")[2] == "hi"  # the page, as for every path that is not there


def test_a_build_that_fails_is_told_with_its_log_and_leaves_nothing(config, repo, web):
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    broken = {"oroboros.toml": toml, "site/build.py": "raise SystemExit('no such thing')"}
    with pytest.raises(BuildFailed, match="no such thing") as failed:
        ship(config, repo.commit("one", **broken))
    assert failed.value.code == "BUILD_FAILED"
    assert Release.objects.get().status == ReleaseStatus.FAILED
    assert list((config.var / "releases").glob("r-*")) == []


@pytest.mark.parametrize(
    ("build", "why"),
    [
        ("os.makedirs('real'); os.symlink('real', 'out')", "site/out is not served: out is a link"),
        ("os.makedirs('out'); os.makedirs('a/' * 900)", "nested deeper"),
        ("os.makedirs('out/' + 'a/' * 900)", "nested deeper"),
    ],
)
def test_a_build_that_cannot_be_kept_or_served_is_a_failed_one(config, repo, web, build, why):
    toml = '[frontend]\ndirectory = "site"\nbuild = "python build.py"\noutput = "out"\n'
    with pytest.raises(BuildFailed, match=why) as failed:
        ship(
            config,
            repo.commit("one", **{"oroboros.toml": toml, "site/build.py": f"import os; {build}"}),
        )
    assert failed.value.code == "BUILD_FAILED"
    assert list((config.var / "releases").glob("r-*")) == []


def test_a_build_is_nobodys_to_change(config, repo, web):
    release = ship(config, repo.commit("one"))
    folder = app.folder(config, release.pk)
    for path in [folder, *folder.rglob("*")]:
        assert path.is_symlink() or not path.stat().st_mode & 0o222, path
        assert path.lstat().st_uid == os.geteuid()


@pytest.mark.root
def test_a_full_disk_fails_the_build_with_a_code_and_nothing_else(config, repo, web):
    first = ship(config, repo.commit("one"))
    small = config.var / "releases"
    kept = config.var / "releases.kept"
    shutil.copytree(small, kept, symlinks=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=True)
    try:
        shutil.copytree(kept, small, symlinks=True, dirs_exist_ok=True)
        commit = repo.commit("two", **{"site/big.bin": "x" * 800_000})
        with pytest.raises(BuildFailed) as failed:
            ship(config, commit)
        assert failed.value.code == "DISK_FULL"
        release = Release.objects.get(commit_sha=commit)
        assert release.status == ReleaseStatus.FAILED
        assert not app.folder(config, release.pk).exists()
        assert web.get()[1] == first.commit_sha
        assert json.loads(web.get("/api/version")[2])["version"] == "one"
        smaller = ship(config, repo.commit("three", **{"site/big.bin": None}))
        assert_all_agrees(config, smaller, web)
    finally:
        for name in managers.manager(config).names():
            managers.manager(config).stop(name, grace=1)
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_a_log_that_cannot_be_written_does_not_stop_a_rollback(config, web, two):
    log = Path(config.var / "log" / "releases")
    shutil.rmtree(log)
    log.write_text("in the way")
    operations.rollback(config, two[0].pk, actor="bob", reason="back")
    assert web.get()[1] == two[0].commit_sha


def test_a_stranger_on_the_port_of_the_new_colour_is_not_taken_for_it(config, repo, web):
    first = ship(config, repo.commit("one"))
    port = app.port(config, "green")
    stranger = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        with pytest.raises(operations.ActivationFailed, match=f"Port {port}"):
            ship(config, repo.commit("two"))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert_all_agrees(config, first, web)
    assert current_link.read(config).commit == first.commit_sha
