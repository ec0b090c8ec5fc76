"""Every page of the admin opens, for whom it should, at a price that does not grow."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from accounts.tokens import create_token
from releases.deployments.switch import default_log
from runs.models import Run, Step
from runs.repository import repository
from runs.rules import Status, StepStatus
from tests.factories import (
    ActivationFactory,
    ApprovalFactory,
    ArtifactFactory,
    EventFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    SlotFactory,
    StepFactory,
    UserFactory,
)
from tests.runs.admin.artifacts import written
from tests.runs.pipelines.shipping.world import GIT
from web.admin_actions import Rows

pytestmark = pytest.mark.django_db
OURS = [(model, found) for model, found in admin.site._registry.items() if isinstance(found, Rows)]


def logged_in(*groups, **user):
    client = Client()
    client.force_login(UserFactory(groups=groups, **user))
    return client


@pytest.fixture
def operator():
    return logged_in("operator")


@pytest.fixture
def superuser():
    return logged_in(is_superuser=True)


def url_of(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def in_main(config):
    """Have a commit in our main, as a merge leaves it, and return its id."""
    repo = repository(config)

    def git(*words):
        argv = ["git", f"--git-dir={repo.path}", *words]
        return subprocess.run(argv, env=GIT, check=True, capture_output=True, text=True, input="")

    commit = git("commit-tree", "-m", "a merge", git("mktree").stdout.strip()).stdout.strip()
    repo.update_ref("refs/heads/main", commit, repo.head("refs/heads/main"))
    return commit


def rows():
    """One of each, related as they are in life."""
    live = ReleaseFactory(live=True, schema_changes=[{"kind": "adds", "text": "a column"}])
    ActivationFactory(release=live, previous=ReleaseFactory())
    lease = LeaseFactory(held=True, run__status=Status.PREVIEW_READY)
    LeaseFactory()
    merged = RunFactory(
        status=Status.MERGED,
        release=live,
        candidate_sha="a" * 40,
        pushed=False,
        next_action="git push",
    )
    step = StepFactory(run=lease.run, name="lease")
    ArtifactFactory(run=lease.run, step=step, name="lease_log")
    StepFactory(run=lease.run, name="worktree", status=StepStatus.RUNNING)
    EventFactory(run=lease.run)
    ApprovalFactory(run=merged)
    FreezeFactory()
    RunFactory(status=Status.FAILED)
    create_token("ci", ["view"], created_by="alice")
    return lease.run


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_list_opens_and_every_row_of_it(operator, model, found):
    rows()
    for address in ("", "?q=x"):
        answer = operator.get(url_of(model, "changelist") + address)
        assert answer.status_code == 200, address
    assert model.objects.exists()
    for row in model.objects.all():
        assert operator.get(url_of(model, "change", row.pk)).status_code == 200
    assert operator.get(url_of(model, "changelist") + "add/").status_code in (302, 403, 404)


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_list_opens_empty(operator, model, found):
    assert operator.get(url_of(model, "changelist")).status_code == 200


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_verb_named_has_a_page_that_asks(operator, model, found):
    rows()
    for verb in found.verbs:
        row = model.objects.first() if verb.on_row else None
        answer = operator.get(found.verb_url(verb, row))
        assert (verb.name, answer.status_code) == (verb.name, 200)


def test_every_list_is_ours_but_the_people_and_every_action_named_is_there():
    """Django leaves out an action that is named and not there, and says nothing."""
    assert set(admin.site._registry) - {model for model, _ in OURS} == {User}
    for found in admin.site._registry.values():
        assert [name for name in found.actions or () if found.get_action(name) is None] == []


def test_the_list_of_people_opens_and_every_row_of_it(superuser):
    UserFactory(groups=["approver"])
    for address in ("", "?q=x", "add/"):
        assert superuser.get(url_of(User, "changelist") + address).status_code == 200
    for person in User.objects.all():
        assert superuser.get(url_of(User, "change", person.pk)).status_code == 200


def test_the_front_page_opens_empty_and_full(operator, settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    assert b"No run yet" in operator.get("/admin/").content
    for number in (1, 2, 3):
        SlotFactory(number=number)
    run = rows()
    Run.objects.filter(status=Status.MERGED).update(candidate_sha=in_main(settings.OROBOROS))
    page = operator.get("/admin/").content.decode()
    for text in (run.title, "The release party", "git push", "Roll back to", "preview-3"):
        assert text in page


def test_whoever_is_in_no_group_sees_nothing():
    run = rows()
    stranger = logged_in()
    assert run.title not in stranger.get("/admin/").content.decode()
    for model, _ in OURS:
        assert stranger.get(url_of(model, "changelist")).status_code == 403
    assert stranger.get(url_of(type(run), "change", run.pk)).status_code == 403


def test_the_login_is_asked_for_first():
    assert Client().get("/admin/").status_code == 302


@pytest.mark.parametrize("number", [1, 40])
def test_the_pages_cost_the_same_for_many(
    operator, superuser, django_assert_max_num_queries, number
):
    run = rows()
    for one in range(number):
        UserFactory(groups=["viewer"])
        create_token(f"token-{one}", ["view"], created_by="alice")
        ReleaseFactory()
        LeaseFactory()
        EventFactory(run=run)
        step = StepFactory(run=run)
        ArtifactFactory(run=run, step=step)
    with django_assert_max_num_queries(26):
        operator.get("/admin/")
    with django_assert_max_num_queries(26):
        operator.get(url_of(type(run), "change", run.pk))
    for model, _ in OURS:
        with django_assert_max_num_queries(16):
            operator.get(url_of(model, "changelist"))
    with django_assert_max_num_queries(16):
        superuser.get(url_of(User, "changelist"))


def test_the_runs_page_has_its_links_and_its_timeline(operator):
    run = rows()
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in ("Frontend preview", "Backend preview", "worktree", "to come", run.commit_sha):
        assert text in page
    assert Step.objects.filter(run=run).count() == 2


def test_the_page_of_a_run_that_waits_says_for_whom_and_how_long(operator):
    held = LeaseFactory(held=True, slot__number=1, run__title="Reactions", run__status="preparing")
    LeaseFactory(held=True, state="ended", ended_at=held.asked_at + timedelta(hours=2))
    run = LeaseFactory().run
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in (
        "number 1, a slot in about 1 h 59",
        "<b>preview-1</b>",
        "Reactions",
        "alice, since",
    ):
        assert (text, text in page) == (text, True)


def test_the_runs_page_has_its_environment_and_its_schema(operator):
    run = rows()
    url_of_run = url_of(type(run), "change", run.pk)
    empty = operator.get(url_of_run).content.decode()
    assert empty.count("Shown once the backend is started.") == 2
    table = "CREATE TABLE public.entries (\n    id bigint NOT NULL{}\n);\n"
    written(run, "environment", "API_KEY=******  # worker-preview.env\nNot passed on: LD_PRELOAD\n")
    written(run, "schema_before", table.format(",\n    mood text"))
    written(run, "schema_after", table.format(""))
    page = operator.get(url_of_run).content.decode()
    for text in (
        "<code>API_KEY</code>",
        "<code>******</code>",
        "<td>worker-preview.env</td>",
        "Not passed on: LD_PRELOAD",
        '<span class="del">-    mood text',
        'drops column public.entries.mood <span class="oro-chip failed">for good</span>',
    ):
        assert (text, text in page) == (text, True)
    assert "Shown once the backend is started." not in page


def test_all_that_holds_shipping_is_listed_where_it_is_lifted(operator):
    failed = RunFactory(status=Status.FAILED, title="Reactions")
    FreezeFactory(run=failed, reason="not healthy")
    FreezeFactory(reason="a demo")
    FreezeFactory(reason="long over", lifted_at=failed.created_at)
    for address in ("/admin/", "/admin/runs/run/unfreeze/"):
        page = operator.get(address).content.decode()
        seen = [text in page for text in ("not healthy", "a demo", "long over")]
        assert (address, seen) == (address, [True, True, False])
        assert f"{url_of(type(failed), 'change', failed.pk)}" in page
    listed = operator.get("/admin/runs/freeze/").content.decode()
    assert 'class="field-run' in listed
    assert "Reactions" in listed


@pytest.mark.parametrize("outcome", ["failed", "restored", "stuck"])
def test_the_front_page_says_that_the_last_switch_did_not_succeed(operator, outcome):
    live, tried = ReleaseFactory(live=True), ReleaseFactory()
    ActivationFactory(release=live)
    assert "ended <span" not in operator.get("/admin/").content.decode()
    activation = ActivationFactory(
        release=tried,
        previous=live,
        outcome=outcome,
        detail="The backend is not healthy: <500>",
        guidance=["./scripts/rollback.sh r-1"],
    )
    page = operator.get("/admin/").content.decode()
    for text in (
        f"The last deploy, to {tried}",
        f'<span class="oro-chip {outcome}">',
        "not healthy: &lt;500&gt;",
        "./scripts/rollback.sh r-1</pre>",
        url_of(type(activation), "change", activation.pk),
    ):
        assert (text, text in page) == (text, True)
    ActivationFactory(release=live)
    assert "ended <span" not in operator.get("/admin/").content.decode()


def test_a_switch_has_a_page_with_its_progress_its_log_and_its_end(operator):
    old = ReleaseFactory()
    live = ReleaseFactory(live=True)
    begun = ActivationFactory(
        release=old,
        previous=live,
        kind="rollback",
        reason="the login is broken",
        progress="starting <blue>",
        outcome="running",
        ended_at=None,
    )
    log = default_log(settings.OROBOROS, begun)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("started & probed\n")
    address = url_of(type(begun), "change", begun.pk)
    page = operator.get(address).content.decode()
    for text in (
        'data-live="2"',
        "starting &lt;blue&gt;",
        "the login is broken",
        "started &amp; probed",
        url_of(type(old), "change", live.pk),
    ):
        assert (text, text in page) == (text, True)
    type(begun).objects.update(
        outcome="restored", ended_at=begun.started_at, detail="no answer", guidance=["doctor"]
    )
    page = operator.get(address).content.decode()
    for text in ('data-live=""', "Restored", "no answer", 'class="oro-command">doctor<'):
        assert (text, text in page) == (text, True)
    listed = operator.get(url_of(type(begun), "changelist")).content.decode()
    assert "the login is broken" in listed
    shown = operator.get(url_of(type(old), "change", old.pk)).content.decode()
    assert f'<a href="{address}">rollback {begun.number}</a>' in shown
    assert "the login is broken" in shown
    assert operator.get(url_of(type(begun), "change", 10**6)).status_code == 404


def test_the_page_of_a_failed_run_has_its_retry_and_the_check_that_failed(operator):
    run = RunFactory(status=Status.FAILED)
    again = RunFactory(parent=run)
    detail = "tests ended with exit code 1:\nE assert"
    step = StepFactory(run=run, name="checks", status=StepStatus.FAILED, detail=detail)
    written(run, "checks_log", "$ lint .\n$ pytest <all>\n", step=step)
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in (
        url_of(type(run), "change", again.pk),
        "</span> tests ended with exit code 1:</p>",
        '<span class="oro-chip succeeded">succeeded</span> <code>lint .</code>',
        '<span class="oro-chip failed">failed</span> <code>pytest &lt;all&gt;</code>',
    ):
        assert (text, text in page) == (text, True)


def test_the_way_back_is_a_button_for_operators_alone(operator):
    restore = "./scripts/release-registry.sh restore r-1"
    live, old = ReleaseFactory(live=True, restore_command=restore), ReleaseFactory()
    ActivationFactory(release=live, previous=old)
    run = RunFactory(status=Status.MERGED, release=live)
    address, button = url_of(type(run), "change", run.pk), url_of(type(old), "rollback", old.pk)
    for client, may in ((operator, True), (logged_in("viewer"), False)):
        page = client.get(address).content.decode()
        assert (f"./scripts/rollback.sh {old.pk}" in page, button in page) == (True, may)
        assert f"{restore}</pre>" in page


def test_an_unknown_run_is_404(operator):
    assert operator.get("/admin/runs/run/nonsense/change/").status_code == 404
