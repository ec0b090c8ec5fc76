"""Which rollbacks are refused, by the command and the API alike, and what a plan lists."""

from datetime import timedelta

import pytest

from core.clock import ClockTimestamp, get_database_time
from host.errors import Refused
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder
from releases.deployments import deploy_and_rollback, rollback_plan
from releases.deployments.rollback_plan_text import format_rollback_plan
from releases.models import Release
from releases.rules import DeploymentKind
from tests.factories import ReleaseFactory
from tests.releases.production_state import (
    assert_consistent,
    change_file,
    deploy,
    make_release,
    post_rollback,
    read_state,
    run_rollback_command,
)

pytestmark = pytest.mark.django_db


def assert_refused(config, release_id, code, status):
    """The run_rollback_command and the API refuse alike and change nothing."""
    before = read_state(config)
    answer, ended = run_rollback_command("--", release_id)
    assert (answer["ok"], answer["error"], ended) == (False, code, 1)
    response = post_rollback(config, release_id)
    assert (response.status_code, response.data["error"]) == (status, code)
    assert read_state(config) == before


@pytest.mark.parametrize(
    "release_id",
    [
        *("current", "", ".", "..", "../", "../../etc", "previous", "r-1", "-h ", "x" * 5000),
        *("r-20261124120000-abcdef012345/../x", "r-20261124120000-abcdef01234g"),
    ],
)
def test_malformed_release_id_returns_400(release_id, config, releases):
    assert_refused(config, release_id, "release_id_invalid", 400)


def test_unknown_release_returns_404(config, releases):
    assert_refused(config, "r-20200101000000-abcdef012345", "release_unknown", 404)


def test_rollback_to_the_live_release_is_refused(config, releases):
    assert_refused(config, releases[2].pk, "release_already_current", 409)


def test_rollback_to_a_release_that_was_never_healthy_is_refused(config, releases):
    release = make_release(config, "d")
    release.fail("It was sick.")
    assert_refused(config, release.pk, "release_not_rollbackable", 409)


def test_rollback_to_a_removed_build_is_refused(config, releases):
    Release.objects.filter(pk=releases[0].pk).update(removed_at=ClockTimestamp())
    assert_refused(config, releases[0].pk, "release_not_rollbackable", 409)


def add_file(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "new").write_text("x")


def remove_file(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "page").unlink()


def change_manifest(folder):
    folder.chmod(0o755)
    (folder / build_manifest.MANIFEST).chmod(0o644)
    (folder / build_manifest.MANIFEST).write_text("{}")


def move_build(folder):
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    "change_build", [change_file, add_file, remove_file, change_manifest, move_build]
)
def test_rollback_to_a_changed_build_is_refused(change_build, config, releases):
    change_build(build_folder(config, releases[0].pk))
    assert_refused(config, releases[0].pk, "release_corrupt", 409)


def test_rollback_past_an_irreversible_migration_must_accept_the_schema(config, releases):
    old, middle, new = releases
    at = get_database_time()
    Release.objects.filter(pk=middle.pk).update(migrated_at=at)
    Release.objects.filter(pk=new.pk).update(
        migrated_at=ClockTimestamp(),
        migrations=["app/migrations/0042_drop.py"],
        schema_changes=[{"kind": "drops", "text": "drops column note.text"}],
    )
    Release.objects.filter(pk=old.pk).update(migrated_at=at)
    assert_refused(config, old.pk, "rollback_blocked_by_migration", 409)
    with pytest.raises(Refused, match=f"rollback.sh {old.pk} --accept-schema") as refusal:
        rollback_plan.check_rollback(config, old, accept_schema=False)
    assert "drops column note.text" in refusal.value.detail
    rollback_plan.check_rollback(config, old, accept_schema=True)
    way = rollback_plan.make_rollback_plan(config, old)
    assert way.migrations == ["app/migrations/0042_drop.py"]
    assert way.irreversible == [f"{new.pk} drops column note.text"]


def test_only_what_migrated_after_a_releases_own_migration_is_later():
    start = get_database_time()
    at = [start + timedelta(minutes=number) for number in range(6)]
    first, second, third = (
        ReleaseFactory(created_at=at[0], migrated_at=moment) for moment in (at[1], at[3], at[5])
    )

    def list_later(**fields):
        release = ReleaseFactory(created_at=at[0], **fields)
        later = [entry.release_id for entry in rollback_plan.find_later_migrations(release)]
        release.delete()
        return later

    assert list_later(migrated_at=at[4], activated_at=at[2]) == [third.pk]
    assert list_later(migrated_at=at[2], activated_at=at[4]) == [second.pk, third.pk]
    # Without a migration of its own: the schema when it was live, or when it was built.
    assert list_later(activated_at=at[2]) == [second.pk, third.pk]
    assert list_later(activated_at=None) == [first.pk, second.pk, third.pk]


def test_rollback_past_an_additive_migration_is_allowed(config, releases):
    Release.objects.filter(pk=releases[2].pk).update(
        migrated_at=ClockTimestamp(), schema_changes=[{"kind": "adds", "text": "adds table x"}]
    )
    rollback_plan.check_rollback(config, releases[0], accept_schema=False)


@pytest.mark.django_db(transaction=True)
def test_plan_back_to_the_newest_schema_has_no_irreversible_changes(config, repo, web):
    first = deploy(config, repo.commit("one"))
    drop = "ALTER TABLE note DROP COLUMN IF EXISTS text;\n"
    second = deploy(config, repo.commit("two", **{"backend/migrations/0002_drop.sql": drop}))
    deploy_and_rollback.roll_back(config, first.pk, actor="bob", reason="back", accept_schema=True)
    assert rollback_plan.make_rollback_plan(config, second).irreversible == []
    deploy_and_rollback.roll_back(config, second.pk, actor="bob", reason="and forward")
    assert_consistent(config, Release.objects.get(pk=second.pk), web)


def test_rollback_during_a_deployment_is_refused(config, releases):
    deploy_and_rollback.begin_deployment(
        releases[0].pk, kind=DeploymentKind.ROLLBACK, actor="bob", reason="first"
    )
    assert_refused(config, releases[1].pk, "activation_in_progress", 409)


@pytest.mark.django_db(transaction=True)
def test_a_plan_lists_every_file_and_counts_the_commits_that_it_does_not_list(
    config, repo, web, monkeypatch
):
    monkeypatch.setattr(rollback_plan, "LIST_LIMIT", 1)
    first = deploy(config, repo.commit("one"))
    repo.commit("two", **{f"b{number}.txt": "x" for number in range(3)})
    deploy(config, repo.commit("three", **{"z/migrations/0002.sql": "SELECT 1;\n"}))
    plan = rollback_plan.make_rollback_plan(config, first)
    assert (len(plan.commits), plan.commit_count, plan.omitted_commits) == (1, 2, 1)
    assert {"b0.txt", "b1.txt", "b2.txt", "z/migrations/0002.sql"} <= {*plan.files}
    assert "  takes back 1 older commits" in format_rollback_plan(plan.as_dict())
