"""What may not be rolled back to is refused with its code, and nothing has changed."""

import json
import sys
from io import StringIO

import pytest
from django.core.management import call_command
from rest_framework.test import APIRequestFactory, force_authenticate

from core.clock import ClockTimestamp, database_time
from host.errors import Refused
from releases import api
from releases.builds import build_manifest
from releases.deployments import operations, reconciler, rollback_plan
from releases.models import Activation, Release
from releases.production import app, current_link
from releases.rules import ActivationKind, ActivationOutcome, ReleaseStatus
from web.permissions import Principal

pytestmark = pytest.mark.django_db

OPERATOR = Principal("ann", frozenset({"view", "operate"}))


@pytest.fixture
def registry(config):
    """Three releases with small builds: `old` and `middle` were live, `new` is."""
    made = [make(config, digit) for digit in "abc"]
    for release in made:
        make_live(config, release)
    return [Release.objects.get(pk=release.pk) for release in made]


def make(config, digit, **fields):
    """Write down a built release with a sealed build."""
    release = Release.objects.start(digit * 40, tree=digit * 40, run_id=None)
    folder = app.folder(config, release.pk)
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "page").write_text(digit)
    facts = {"web": None, "release": None, "health_path": "/", "bins": []}
    release.move(
        ReleaseStatus.BUILT,
        built_at=ClockTimestamp(),
        checksum=build_manifest.close(folder, facts),
        **fields,
    )
    return release


def make_live(config, release):
    activation = operations.begin(release.pk, kind=ActivationKind.DEPLOY, actor="ann", reason="t")
    claim = Activation.objects.running().claim(activation.number, "test")
    address = f"127.0.0.1:{app.port(config, activation.colour)}"
    current_link.write(
        config, current_link.Pointer(activation.number, address, release.commit_sha), None, None
    )
    current_link.switch(config, activation.number)
    activation.go_live(claim)
    activation.succeed(claim)
    release.refresh_from_db()
    return activation


def state(config):
    """Everything that a refusal must leave as it was."""
    return (
        list(Release.objects.values()),
        list(Activation.objects.values()),
        current_link.link(config).readlink(),
    )


def post(config, release_id, **body):
    body = {"reason": "a test"} | body
    request = APIRequestFactory().post("/", json.dumps(body), content_type="application/json")
    force_authenticate(request, user=OPERATOR)
    return api.RollbackView.as_view()(request, release_id=release_id)


def shell(*arguments):
    """Run the command as scripts/rollback.sh does; returns its answer and exit code."""
    out, err = StringIO(), StringIO()
    try:
        call_command("rollback", *arguments, stdout=out, stderr=err)
    except SystemExit as ended:
        return json.loads(out.getvalue()), ended.code
    return json.loads(out.getvalue()), 0


def assert_refused(config, release_id, code, status):
    """The shell and the API refuse alike and change nothing."""
    before = state(config)
    answer, ended = shell("--", release_id)
    assert (answer["ok"], answer["error"], ended) == (False, code, 1)
    response = post(config, release_id)
    assert (response.status_code, response.data["error"]) == (status, code)
    assert state(config) == before


@pytest.mark.parametrize(
    "release_id",
    [
        *("current", "", ".", "..", "../", "../../etc", "previous", "r-1", "-h ", "x" * 5000),
        *("r-20261124120000-abcdef012345/../x", "r-20261124120000-abcdef01234g"),
    ],
)
def test_what_is_no_release_id_is_refused(release_id, config, registry):
    assert_refused(config, release_id, "release_id_invalid", 400)


def test_an_unknown_release_is_refused(config, registry):
    assert_refused(config, "r-20200101000000-abcdef012345", "release_unknown", 404)


def test_the_live_release_is_refused(config, registry):
    assert_refused(config, registry[2].pk, "release_already_current", 409)


def test_a_release_that_was_never_healthy_is_refused(config, registry):
    release = make(config, "d")
    release.move(ReleaseStatus.FAILED)
    assert_refused(config, release.pk, "release_not_rollbackable", 409)


def test_a_release_whose_build_retention_removed_is_refused(config, registry):
    Release.objects.filter(pk=registry[0].pk).update(removed_at=ClockTimestamp())
    assert_refused(config, registry[0].pk, "release_not_rollbackable", 409)


def break_content(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "page").chmod(0o644)
    (folder / "app" / "page").write_text("other")


def break_by_adding(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "new").write_text("x")


def break_by_removing(folder):
    (folder / "app").chmod(0o755)
    (folder / "app" / "page").unlink()


def break_manifest(folder):
    folder.chmod(0o755)
    (folder / build_manifest.MANIFEST).chmod(0o644)
    (folder / build_manifest.MANIFEST).write_text("{}")


def break_all(folder):
    folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    "break_it", [break_content, break_by_adding, break_by_removing, break_manifest, break_all]
)
def test_a_build_that_is_not_the_one_that_was_made_is_refused(break_it, config, registry):
    break_it(app.folder(config, registry[0].pk))
    assert_refused(config, registry[0].pk, "release_corrupt", 409)


def test_a_release_before_an_irreversible_migration_needs_to_be_accepted(config, registry):
    old, middle, new = registry
    at = database_time()
    Release.objects.filter(pk=middle.pk).update(migrated_at=at)
    Release.objects.filter(pk=new.pk).update(
        migrated_at=ClockTimestamp(),
        migrations=["app/migrations/0042_drop.py"],
        schema_changes=[{"kind": "drops", "text": "drops column note.text"}],
    )
    Release.objects.filter(pk=old.pk).update(migrated_at=at)
    assert_refused(config, old.pk, "rollback_blocked_by_migration", 409)
    with pytest.raises(Refused, match=f"rollback.sh {old.pk} --accept-schema") as refusal:
        rollback_plan.check(config, old, accept_schema=False)
    assert "drops column note.text" in refusal.value.detail
    rollback_plan.check(config, old, accept_schema=True)
    way = rollback_plan.preview(config, old)
    assert way.migrations == ["app/migrations/0042_drop.py"]
    assert way.irreversible == [f"{new.pk} drops column note.text"]


def test_what_only_adds_does_not_block(config, registry):
    Release.objects.filter(pk=registry[2].pk).update(
        migrated_at=ClockTimestamp(), schema_changes=[{"kind": "adds", "text": "adds table x"}]
    )
    rollback_plan.check(config, registry[0], accept_schema=False)


def test_while_an_activation_is_under_way_another_is_refused(config, registry):
    operations.begin(registry[0].pk, kind=ActivationKind.ROLLBACK, actor="bob", reason="first")
    assert_refused(config, registry[1].pk, "activation_in_progress", 409)


def test_of_two_that_begin_at_once_one_wins(config, registry):
    operations.begin(registry[0].pk, kind=ActivationKind.ROLLBACK, actor="bob", reason="first")
    with pytest.raises(Refused) as refusal:
        operations.begin(registry[1].pk, kind=ActivationKind.ROLLBACK, actor="eve", reason="second")
    assert refusal.value.code == "activation_in_progress"
    assert Activation.objects.running().count() == 1


def test_the_api_answers_at_once_and_rings_for_a_worker(config, registry):
    from django_q.models import OrmQ

    response = post(config, registry[0].pk, accept_schema=False)
    assert response.status_code == 202
    activation = Activation.objects.running().get()
    assert response.data["activation"]["number"] == activation.number
    assert (activation.actor, activation.reason) == ("ann", "a test")
    assert OrmQ.objects.count() == 1
    assert Release.objects.live() == registry[2]


@pytest.mark.parametrize(
    "body", [{"reason": ""}, {"reason": None}, {"reason": 1}, {"accept_schema": "yes"}, {"x": 1}]
)
def test_a_rollback_without_a_reason_or_with_more_than_it_knows_is_malformed(
    body, config, registry
):
    before = state(config)
    assert post(config, registry[0].pk, **body).status_code == 400
    assert state(config) == before


def test_a_release_is_shown_with_its_history_and_its_way_back(config, registry):
    request = APIRequestFactory().get("/")
    force_authenticate(request, user=OPERATOR)
    answer = api.ReleaseView.as_view()(request, release_id=registry[0].pk).data
    assert (answer["release_id"], answer["status"]) == (registry[0].pk, "retired")
    assert [one["outcome"] for one in answer["activations"]] == ["succeeded"]
    assert answer["rollback"]["command"] == f"./scripts/rollback.sh {registry[0].pk}"
    listed = api.ReleasesView.as_view()(request).data
    assert [one["status"] for one in listed["results"]] == ["live", "retired", "retired"]


def test_without_an_id_the_last_healthy_one_is_offered(config, registry, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO())
    before = state(config)
    answer, ended = shell()
    assert (answer["error"], ended) == ("release_id_missing", 1)
    assert answer["command"] == f"./scripts/rollback.sh {registry[1].pk}"
    assert state(config) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(config, registry):
    before = state(config)
    answer, ended = shell(registry[0].pk, "--dry-run")
    assert (answer["ok"], answer["dry_run"], ended) == (True, True, 0)
    assert answer["from_release_id"] == registry[2].pk
    assert state(config) == before


def test_the_registry_lists_gets_and_verifies(config, registry):
    def answer(*arguments):
        out = StringIO()
        call_command("releases", *arguments, stdout=out, stderr=StringIO())
        return json.loads(out.getvalue())

    listed = answer("list")
    assert [one["release_id"] for one in listed["releases"]] == [r.pk for r in registry[::-1]]
    assert answer("get", registry[0].pk)["release"]["commit_sha"] == "a" * 40
    assert answer("verify", registry[0].pk)["intact"] is True
    break_content(app.folder(config, registry[0].pk))
    with pytest.raises(SystemExit):
        answer("verify", registry[0].pk)


def test_the_link_follows_the_registry(config, registry):
    wanted = current_link.read(config)
    current_link.switch(config, Activation.objects.order_by("number").first().number)
    assert "current named" in reconciler.reconcile(config, dry_run=True)[0]
    assert current_link.read(config) != wanted
    reconciler.reconcile(config)
    assert current_link.read(config) == wanted
    assert reconciler.reconcile(config) == []


def test_a_link_that_is_gone_is_made_again(config, registry):
    wanted = current_link.read(config)
    current_link.clear(config)
    (current_link.folder(config, wanted.number) / "live").unlink()
    reconciler.reconcile(config)
    assert current_link.read(config) == wanted


def test_retention_keeps_the_live_one_and_the_last_healthy_ones(config, registry):
    config.environ["RELEASES_KEEP"] = "2"
    stray = app.folder(config, "r-20200101000000-abcdef012345")
    stray.mkdir()
    told = reconciler.reconcile(config)
    assert told == [f"build of {registry[0]} removed (retired)"]
    left = sorted(path.name for path in (config.var / "releases").glob("r-*"))
    assert left == [registry[1].pk, registry[2].pk]
    assert len(list((config.var / "activations").iterdir())) == 2
    assert reconciler.reconcile(config) == []


def test_a_build_that_waits_for_its_switch_is_not_removed(config, registry):
    config.environ["RELEASES_KEEP"] = "1"
    waiting = make(config, "d")
    reconciler.reconcile(config)
    assert app.folder(config, waiting.pk).exists()
    Release.objects.filter(pk=waiting.pk).update(created_at="2020-01-01T00:00:00Z")
    reconciler.reconcile(config)
    assert not app.folder(config, waiting.pk).exists()


def test_a_failed_rollback_leaves_a_release_that_was_healthy_a_way_back(config, registry):
    old, _, new = registry
    activation = operations.begin(old.pk, kind=ActivationKind.ROLLBACK, actor="bob", reason="x")
    claim = Activation.objects.running().claim(activation.number, "test")
    activation.go_live(claim)
    activation.fail(claim, ActivationOutcome.RESTORED, "sick", [])
    old.refresh_from_db()
    assert (old.status, Release.objects.live()) == (ReleaseStatus.RETIRED, new)
    rollback_plan.check(config, old, accept_schema=False)
