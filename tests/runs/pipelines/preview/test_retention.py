"""Retention: unused installs, template databases, and the files of old runs."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db.models import F

from core.clock import get_database_time
from host.app import installs
from host.files.file_lock import file_lock
from host.postgres import guard
from host.postgres.administration import DatabaseAdmin
from runs.engine.artifacts import artifacts_folder
from runs.engine.step_context import CommandContext
from runs.leasing import grants, leases
from runs.lifecycle import operations, retention
from runs.models import Artifact, Event, Run
from runs.pipelines import template_databases
from runs.pipelines.shipping import CANDIDATES
from runs.repository import open_repository
from runs.rules import Status
from slots.models import Lease
from tests.factories import ArtifactFactory, ReleaseFactory, RunFactory
from tests.slots.runtime.conftest import config, folder

__all__ = ["config", "folder"]

DAY = 24 * 3600
OLD = "python-" + 40 * "0"
HALF_BUILT = "app_template_ffffffffffff"


def store(config):
    return config.var / "cache" / "installs"


def make(config, name, *, days):
    """An install of that age, whole."""
    (store(config) / name / ".venv" / "bin").mkdir(parents=True)
    (store(config) / f"{name}.done").touch()
    age(store(config) / name, days)
    age(store(config) / f"{name}.done", days)


def age(path, days):
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def installed(config):
    return sorted(path.name for path in store(config).iterdir() if path.is_dir())


def test_an_old_install_without_references_is_removed(place):
    config = place.config
    run = place.preview("feature/first", {"README.md": "hello"})
    (used,) = installed(config)
    age(store(config) / f"{used}.done", 15)
    kept, interrupted, young = (f"node-{40 * letter}" for letter in "abc")
    for name, days in ((OLD, 15), (kept, 15), (young, 13)):
        make(config, name, days=days)
    (store(config) / interrupted).mkdir()
    age(store(config) / interrupted, 15)
    build = config.var / "releases" / "r-20260101000000-000000000000"
    build.parent.mkdir(parents=True, exist_ok=True)
    (build.parent / ".other-build.lock").touch()
    build.mkdir(parents=True)
    bins = [str(store(config) / kept / "node_modules" / ".bin")]
    (build / "manifest.json").write_text(json.dumps({"bins": bins}))

    said = StringIO()
    call_command("retention", "--dry-run", stdout=said)
    assert OLD in said.getvalue() and OLD in installed(config)
    assert len(retention.remove_unneeded(config)) == 2
    assert installed(config) == sorted([used, kept, young])
    told = Event.objects.filter(kind="removed").values_list("text", flat=True)
    assert sorted(text.split()[1] for text in told) == sorted([OLD, interrupted])
    assert place.page().status_code == 200

    operations.cancel(run, actor="ada")
    place.tidy()
    retention.remove_unneeded(config)
    assert installed(config) == sorted([kept, young])
    assert retention.remove_unneeded(config) == []


def test_an_install_that_is_new_or_used_again_stays(config):
    make(config, OLD, days=15)
    assert installs.list_unused_installs(config, 14 * DAY) == [OLD]
    with file_lock(store(config) / f"{OLD}.lock", seconds=0):
        assert not installs.remove_install(config, OLD, 14 * DAY)
    (store(config) / f"{OLD}.done").touch()
    assert not installs.remove_install(config, OLD, 14 * DAY)
    assert (store(config) / f"{OLD}.done").exists()
    assert installed(config) == [OLD]


def test_the_setting_says_how_long_an_install_is_kept(config, db):
    make(config, OLD, days=2)
    assert retention.remove_unneeded(config) == []
    config.environ["RETENTION_INSTALLS_SECONDS"] = str(DAY)
    assert len(retention.remove_unneeded(config)) == 1
    assert installed(config) == []


def test_an_unneeded_template_is_dropped_after_a_day(place):
    admin = DatabaseAdmin(place.config)
    run = place.preview("feature/first", {"README.md": "hello"})
    first = guard.template_name(place.remote_main())
    admin.ensure_role(HALF_BUILT)
    admin.create(HALF_BUILT, HALF_BUILT)
    second = guard.template_name(place.commit("main", {"README.md": "main goes on"}))
    open_repository(place.config).fetch(str(place.remote))

    assert retention.remove_unneeded(place.config) == []
    listed = admin.list_templates()
    assert listed[first] is None, "the slot can still be reset to it"
    assert listed[HALF_BUILT] is not None
    admin.record_unneeded_since(HALF_BUILT, get_database_time() - timedelta(hours=25))
    removed = retention.remove_unneeded(place.config)
    assert [sentence.split()[0] for sentence in removed] == [HALF_BUILT]

    operations.cancel(run, actor="ada")
    place.tidy()
    place.preview("feature/second", {"README.md": "hello"})
    admin.record_unneeded_since(first, get_database_time() - timedelta(hours=25))
    admin.record_unneeded_since(second, get_database_time() - timedelta(hours=25))
    retention.remove_unneeded(place.config)
    assert (admin.exists(first), admin.exists(second)) == (False, True)
    schemas = [path.stem for path in (place.config.var / "templates").glob("*.json")]
    assert schemas == [second]
    assert admin.list_templates()[second] is None


AT = datetime(2026, 1, 2, tzinfo=UTC)
HOURS = timedelta(hours=1)


@pytest.mark.parametrize(
    ("templates", "keep", "dropped"),
    [
        ({"a": None, "b": AT - 2 * HOURS}, 2, []),
        ({"a": None, "b": AT - 2 * HOURS, "c": AT - 3 * HOURS}, 2, ["c"]),
        ({"a": None, "b": AT - 2 * HOURS, "c": AT - 3 * HOURS}, 0, ["c", "b"]),
        ({"a": AT - 9 * HOURS, "b": AT - timedelta(seconds=299)}, 1, []),  # needed, in use
        ({"b": AT - 30 * HOURS, "c": AT - 25 * HOURS, "d": AT - 23 * HOURS}, 2, ["b", "c"]),
    ],
)
def test_templates_above_the_cap_are_dropped_those_needed_longest_ago_first(
    templates, keep, dropped
):
    assert retention.select_unneeded_templates(templates, {"a"}, keep, AT) == dropped


def test_templates_built_at_once_have_passwords_of_their_own(place, monkeypatch):
    first = place.commit("main", {"README.md": "one"})
    second = place.commit("main", {"README.md": "two"})
    repo, config = open_repository(place.config), place.config
    repo.fetch(str(place.remote))
    target = guard.resolve_target(config, config.slots[0])
    work = CommandContext(config, config.var / "log" / "templates.log", "template:test")
    migrate = template_databases._migrate_and_seed

    def build_another_then_connect(context, app, variables):
        monkeypatch.setattr(template_databases, "_migrate_and_seed", migrate)
        template_databases.ensure_template(work, repo, second, target)
        with psycopg.connect(guard.strip_driver(variables["DATABASE_URL"])) as session:
            session.execute("CREATE TABLE entry (id int)")

    monkeypatch.setattr(template_databases, "_migrate_and_seed", build_another_then_connect)
    name = template_databases.ensure_template(work, repo, first, target)
    admin = DatabaseAdmin(config)
    assert {name, guard.template_name(second)} <= {*admin.list_own_roles()}
    template_databases.drop_template(config, name)
    admin.ensure_role(name)  # as a worker leaves it that is killed between role and database
    template_databases.remove_strays(config)
    assert name not in admin.list_own_roles()
    assert guard.template_name(second) in admin.list_own_roles()


def test_one_spare_copy_is_kept_and_it_follows_the_target_branch(place, monkeypatch):
    admin = DatabaseAdmin(place.config)
    assert not template_databases.ensure_spare(place.config), "no template is built yet"
    place.preview("feature/first", {"README.md": "hello"})
    first = guard.spare_name(guard.template_name(place.remote_main()))
    with monkeypatch.context() as host:
        host.setattr(grants, "explain_refusal", lambda: "No slot is granted: the disk is full.")
        assert not template_databases.ensure_spare(place.config)
    assert template_databases.ensure_spare(place.config)
    assert admin.exists(first)

    second = guard.spare_name(guard.template_name(place.commit("main", {"README.md": "on"})))
    open_repository(place.config).fetch(str(place.remote))
    template_databases.build_current_template()
    assert (admin.exists(first), admin.exists(second)) == (False, True)


def test_a_rebuilt_template_has_no_spare_copy_of_the_old_one(place):
    admin = DatabaseAdmin(place.config)
    run = place.preview("feature/first", {"README.md": "hello"})
    template = run.steps.get(name="database").result["template"]
    assert template_databases.ensure_spare(place.config)
    admin.drop(template)
    place.tidy()
    place.preview("feature/second", {"README.md": "hello"})
    assert admin.has_template(template)
    assert not admin.exists(guard.spare_name(template))


def ended(*, days, **fields):
    """A run that ended that long ago."""
    run = RunFactory(status="canceled", **fields)
    Run.objects.filter(pk=run.pk).update(ended_at=get_database_time() - timedelta(days=days))
    return run


def test_files_of_an_old_run_are_removed_and_its_timeline_stays(place):
    config, repo = place.config, open_repository(place.config)
    run = place.preview("feature/first", {"README.md": "hello"})
    operations.cancel(run, actor="ada")
    ref = f"{CANDIDATES}/{run.pk}"
    repo.update_ref(ref, run.commit_sha, None)
    folder, had = artifacts_folder(config) / str(run.pk), run.events.count()
    assert retention.remove_unneeded(config) == []

    Run.objects.filter(pk=run.pk).update(ended_at=get_database_time() - timedelta(days=91))
    [said] = retention.remove_unneeded(config, dry_run=True)
    assert str(run.pk) in said
    assert (folder.is_dir(), repo.resolve_ref(ref)) == (True, run.commit_sha)
    assert retention.remove_unneeded(config) == [said]
    assert (folder.exists(), repo.resolve_ref(ref)) == (False, None)
    assert not Artifact.objects.filter(run=run).exists()
    assert (run.events.count(), run.steps.filter(name="backend").count()) == (had, 1)
    assert Event.objects.filter(kind="removed").get().text == said
    assert retention.remove_unneeded(config) == []


def test_files_of_a_run_stay_while_its_release_has_a_build(config, db):
    config.environ["RETENTION_RUNS_SECONDS"] = str(DAY)
    release, young = ReleaseFactory(), ended(days=0.9)
    kept, works = ended(days=2, release=release), RunFactory(status="preparing")
    for run in (young, kept, works):
        file = artifacts_folder(config) / ArtifactFactory(run=run).path
        file.parent.mkdir(parents=True)
        file.touch()
    assert retention.remove_unneeded(config) == []
    release.removed_at = get_database_time()
    release.save()
    assert len(retention.remove_unneeded(config)) == 1
    left = {path.name for path in artifacts_folder(config).iterdir()}
    assert left == {str(young.pk), str(works.pk)}


def test_a_reservation_that_asked_for_no_slot_for_a_day_expires(config, slots):
    idle, recent, waiting, held = (RunFactory(prepare=False) for _ in range(4))
    for run in (recent, waiting):
        leases.request_slot(run, actor="ada")
    leases.begin_ending(recent, reason="released", actor="ada")
    Run.objects.update(created_at=get_database_time() - timedelta(hours=25))
    Run.objects.filter(pk=held.pk).update(created_at=get_database_time())
    [sentence] = retention.remove_unneeded(config)
    assert str(idle.pk) in sentence
    Lease.objects.update(ended_at=F("ended_at") - timedelta(hours=25))
    Run.objects.filter(pk=recent.pk).update(status=Status.QUEUED)
    assert str(recent.pk) in " ".join(retention.remove_unneeded(config))
    assert Run.objects.get(pk=waiting.pk).status == Status.HOLDING
    assert {*Run.objects.filter(status=Status.EXPIRED)} == {idle, recent}
