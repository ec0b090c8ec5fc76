"""Every page of the admin: who may open it, what it shows, how many queries it needs."""

import re
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import DateTimeField
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.tokens import create_token
from forges.models import LinkedAccount
from releases.deployments.deployment_steps import deployment_log_path
from releases.models import Deployment
from runs import presenters
from runs.admin import run_page
from runs.models import Run, Step
from runs.repository import open_repository
from runs.rules import Status, StepStatus
from tests.factories import (
    ArtifactFactory,
    DeploymentFactory,
    EventFactory,
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    SlotFactory,
    StepFactory,
    UserFactory,
)
from tests.host.postgres.schema_snapshots import snapshot_text
from tests.runs.admin.artifacts import write_artifact
from tests.runs.admin.rows import create_rows
from tests.runs.pipelines.shipping.world import GIT
from web.admin_actions import DetailPageAdmin, ReadOnlyAdmin
from web.templatetags.presentation import person, render_chip

pytestmark = pytest.mark.django_db
OURS = [
    (model, found)
    for model, found in admin.site._registry.items()
    if isinstance(found, ReadOnlyAdmin)
]


def log_in(*groups, **user):
    client = Client()
    person = UserFactory(groups=groups, **user)
    client.force_login(person)
    # Some actions ask for the password, if it was not given again within minutes.
    session = client.session
    again = {"method": "password", "at": time.time(), "reauthenticated": True}
    session["account_authentication_methods"] = [again]
    session["account_authentication_methods_user"] = str(person.pk)
    session.save()
    return client


@pytest.fixture
def operator():
    return log_in("operator")


@pytest.fixture
def superuser():
    return log_in(is_superuser=True)


def url_of(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def commit_to_main(config):
    """Add a commit to our main branch, as a merge does, and return its id."""
    repo = open_repository(config)

    def git(*words):
        argv = ["git", f"--git-dir={repo.path}", *words]
        return subprocess.run(argv, env=GIT, check=True, capture_output=True, text=True, input="")

    commit = git("commit-tree", "-m", "a merge", git("mktree").stdout.strip()).stdout.strip()
    repo.update_ref("refs/heads/main", commit, repo.resolve_ref("refs/heads/main"))
    return commit


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_list_and_every_row_opens(operator, model, found):
    create_rows()
    for address in ("", "?q=x"):
        answer = operator.get(url_of(model, "changelist") + address)
        assert answer.status_code == 200, address
    assert model.objects.exists()
    for row in model.objects.all():
        answer = operator.get(url_of(model, "change", row.pk))
        assert answer.status_code == 200
        # unfold makes a label of a pair in a list; a page would show the pair itself.
        assert not re.search(r"\(&#x27;[^;]*&#x27;, &#x27;", answer.content.decode())
    assert operator.get(url_of(model, "changelist") + "add/").status_code in (302, 403, 404)


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_list_shows_how_long_ago_a_time_is_with_the_time_on_hover(operator, model, found):
    create_rows()
    page = operator.get(url_of(model, "changelist")).content.decode()
    times = {one.name for one in model._meta.fields if isinstance(one, DateTimeField)}
    for name in times.intersection(found.list_display):
        cells = re.findall(rf'class="field-{name}[^>]*>(.*?)</t[dh]>', page, re.DOTALL)
        assert cells, name
        for cell in cells:
            shown = re.search(r'<time [^>]*title="[^"]*:[0-9]{2} UTC"[^>]* data-ago>', cell)
            assert shown or "–" in cell, (name, cell)


def test_the_list_of_events_is_filtered_by_the_kinds_that_occur(operator):
    for kind in ("drained", "created", "drained"):
        EventFactory(kind=kind, text=f"a text about {kind}")
    page = operator.get("/admin/runs/event/").content.decode()
    assert re.findall(r"\?kind=(\w+)", page) == ["created", "drained"]
    page = operator.get("/admin/runs/event/?kind=drained").content.decode()
    assert ("a text about drained" in page, "a text about created" in page) == (True, False)


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_list_opens_empty(operator, model, found):
    answer = operator.get(url_of(model, "changelist"))
    page, is_empty = answer.content.decode(), not answer.context["cl"].result_list
    assert (f"There are no {model._meta.verbose_name_plural} yet." in page) == is_empty
    assert "Show all" not in page
    assert "_facets" not in page  # which count all rows for each choice of a filter


def test_a_list_offers_to_show_all_only_where_rows_are_left_out(operator):
    RunFactory(title="Reactions")
    for query, is_offered in (("", False), ("?q=Reactions", True), ("?q=nothing", True)):
        page = operator.get(url_of(Run, "changelist") + query).content.decode()
        assert (query, "Show all</a>" in page) == (query, is_offered)
        assert ("No runs match" in page) == (query == "?q=nothing")


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_action_has_a_confirmation_page(operator, model, found):
    create_rows()
    for action in found.page_actions:
        row = model.objects.first() if action.is_for_row else None
        answer = operator.get(found.action_url(action, row))
        assert (action.name, answer.status_code) == (action.name, 200)


def list_titles(client, query):
    """Return the titles of the runs on the list, with this query in its address."""
    answer = client.get(f"{url_of(Run, 'changelist')}?{query}")
    assert answer.status_code == 200
    return {run.title for run in answer.context["cl"].result_list}


def test_the_list_of_runs_is_filtered_by_what_its_address_says():
    client = log_in("viewer", username="vera")
    failed = {"status": Status.FAILED, "failure_code": "BUILD_FAILED"}
    RunFactory(title="old", branch="fix/login", created_by="olga", status=Status.MERGED)
    RunFactory(title="own", branch="feature/login", created_by="vera", status=Status.QUEUED)
    RunFactory(title="failed", branch="feature/cart", created_by="olga", **failed)
    Run.objects.filter(title="old").update(created_at=timezone.now() - timedelta(days=30))
    assert list_titles(client, "") == {"old", "own", "failed"}
    assert list_titles(client, "mine=1") == {"own"}
    assert list_titles(client, "status__in=merged&status__in=queued") == {"old", "own"}
    assert list_titles(client, "branch__icontains=LOGIN") == {"old", "own"}
    assert list_titles(client, "created_by__icontains=olga") == {"old", "failed"}
    assert list_titles(client, "failure_code=BUILD_FAILED") == {"failed"}
    since = quote(str(timezone.now() - timedelta(days=7)))
    assert list_titles(client, f"created_at__gte={since}") == {"own", "failed"}
    assert list_titles(client, "branch__icontains=feature&mine=1") == {"own"}


def test_only_people_and_their_accounts_have_djangos_own_admin_and_named_actions_exist():
    """Django leaves out an action that is named and not there, and says nothing."""
    assert set(admin.site._registry) - {model for model, _ in OURS} == {User, LinkedAccount}
    for found in admin.site._registry.values():
        assert [name for name in found.actions or () if found.get_action(name) is None] == []


def test_the_list_of_users_and_every_user_opens(superuser):
    UserFactory(groups=["approver"])
    for address in ("", "?q=x", "add/"):
        assert superuser.get(url_of(User, "changelist") + address).status_code == 200
    for user in User.objects.all():
        assert superuser.get(url_of(User, "change", user.pk)).status_code == 200


def test_the_dashboard_opens_empty_and_full(operator, settings, tmp_path):
    settings.OROBOROS = replace(settings.OROBOROS, var=tmp_path)
    assert b"No runs yet" in operator.get("/admin/").content
    for number in (1, 2, 3):
        SlotFactory(number=number)
    run = create_rows()
    Run.objects.filter(status=Status.MERGED).update(candidate_sha=commit_to_main(settings.OROBOROS))
    page = operator.get("/admin/").content.decode()
    for text in (run.title, "The release party", "git push", "Roll back to", "preview-3"):
        assert text in page


def test_a_user_without_a_group_sees_nothing():
    run = create_rows()
    stranger = log_in()
    assert run.title not in stranger.get("/admin/").content.decode()
    for model, _ in OURS:
        assert stranger.get(url_of(model, "changelist")).status_code == 403
    assert stranger.get(url_of(type(run), "change", run.pk)).status_code == 403


@pytest.mark.parametrize(("model", "found"), OURS, ids=lambda value: getattr(value, "__name__", ""))
def test_no_page_links_an_operator_to_the_page_of_a_user(operator, model, found):
    create_rows()
    for row in model.objects.all():
        page = operator.get(url_of(model, "change", row.pk)).content.decode()
        assert "/admin/auth/user/" not in page


def test_an_anonymous_request_is_redirected_to_the_login():
    assert Client().get("/admin/").status_code == 302


@pytest.mark.parametrize("number", [1, 40])
def test_the_pages_need_the_same_queries_for_any_number_of_rows(
    operator, superuser, django_assert_max_num_queries, number
):
    run = create_rows()
    for one in range(number):
        UserFactory(groups=["viewer"])
        create_token(f"token-{one}", ["view"], created_by="alice")
        ReleaseFactory()
        LeaseFactory()
        EventFactory(run=run)
        step = StepFactory(run=run)
        ArtifactFactory(run=run, step=step)
    with django_assert_max_num_queries(28):
        operator.get("/admin/")
    with django_assert_max_num_queries(27):
        operator.get(url_of(type(run), "change", run.pk))
    for model, _ in OURS:
        with django_assert_max_num_queries(16):
            operator.get(url_of(model, "changelist"))
    with django_assert_max_num_queries(16):
        superuser.get(url_of(User, "changelist"))


def test_a_runs_page_has_its_links_and_timeline(operator):
    run = create_rows()
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in ("Frontend preview", "Backend preview", "worktree", "not started", run.commit_sha):
        assert text in page
    assert Step.objects.filter(run=run).count() == 2


def test_the_page_of_a_waiting_run_has_an_estimate_and_the_slots_in_use(operator):
    held = LeaseFactory(held=True, slot__number=1, run__title="Reactions", run__status="preparing")
    over = held.requested_at + timedelta(hours=2)
    LeaseFactory(held=True, slot=held.slot, state="ended", ended_at=over)
    run = LeaseFactory().run
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in (
        "1, a slot in about 1 h 59",
        "<b>preview-1</b>",
        "Reactions",
        f"{person('alice')}, since",
    ):
        assert (text, text in page) == (text, True)


def test_a_runs_page_has_its_environment_and_schema(operator):
    run = create_rows()
    url_of_run = url_of(type(run), "change", run.pk)
    empty = operator.get(url_of_run).content.decode()
    assert empty.count("Available after the backend has started.") == 2
    write_artifact(
        run, "environment", "API_KEY=******  # worker-preview.env\nNot passed on: LD_PRELOAD\n"
    )
    before = snapshot_text({"public.entries": {"id": "bigint", "mood": "text"}})
    write_artifact(run, "schema_before", before)
    write_artifact(run, "schema_after", snapshot_text({"public.entries": {"id": "bigint"}}))
    page = operator.get(url_of_run).content.decode()
    for text in (
        "<code>API_KEY</code>",
        "<code>******</code>",
        '<div class="oro-muted">worker-preview.env</div>',
        "Not passed on: LD_PRELOAD",
        '<span class="del">-    mood text',
        f"drops column public.entries.mood {render_chip('failed', 'irreversible')}",
    ):
        assert (text, text in page) == (text, True)
    assert "Available after the backend has started." not in page


def test_the_data_of_a_page_replaces_none_of_every_page(rf):
    """Unfold shows some of them in the head, such as `environment` as a chip."""
    request = rf.get("/admin/")
    request.user = UserFactory(groups=["operator"])
    create_rows()
    pages = [(model, found) for model, found in OURS if isinstance(found, DetailPageAdmin)]
    assert {model for model, _ in pages} == {Run, Deployment}
    for _, found in pages:
        row = found.get_queryset(request).first()
        names = found.get_page_context(request, row).keys() - {"title"}
        assert names & admin.site.each_context(request).keys() == set()


def test_the_unfreeze_page_lists_every_active_freeze(operator):
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


def test_the_dashboard_says_which_change_is_live_and_whose(operator):
    live = ReleaseFactory(live=True)
    page = operator.get("/admin/").content.decode()
    assert f"<p><code>{live.commit_sha[:12]}</code>" in page
    run = RunFactory(title="Show <b>reactions</b>", created_by="ada")
    type(live).objects.filter(pk=live.pk).update(run_id=run.pk)
    page = operator.get("/admin/").content.decode()
    link = f'<a href="{url_of(type(run), "change", run.pk)}">Show &lt;b&gt;reactions&lt;/b&gt;</a>'
    assert f"<p>{link} by {person('ada')}" in page


@pytest.mark.parametrize("outcome", ["failed", "restored", "stuck"])
def test_the_dashboard_reports_a_failed_deployment(operator, outcome):
    live, tried = ReleaseFactory(live=True), ReleaseFactory()
    DeploymentFactory(release=live)
    assert "ended <span" not in operator.get("/admin/").content.decode()
    deployment = DeploymentFactory(
        release=tried,
        previous=live,
        outcome=outcome,
        detail="The backend is not healthy: <500>",
        guidance=["./scripts/rollback.sh r-1"],
    )
    page = operator.get("/admin/").content.decode()
    for text in (
        f"The last deploy, to {tried}",
        f"ended {render_chip(outcome, deployment.get_outcome_display())}",
        "not healthy: &lt;500&gt;",
        "./scripts/rollback.sh r-1</pre>",
        url_of(type(deployment), "change", deployment.pk),
    ):
        assert (text, text in page) == (text, True)
    DeploymentFactory(release=live)
    assert "ended <span" not in operator.get("/admin/").content.decode()


def test_a_deployments_page_has_its_progress_log_and_result(operator):
    old = ReleaseFactory()
    live = ReleaseFactory(live=True)
    deployment = DeploymentFactory(
        release=old,
        previous=live,
        kind="rollback",
        reason="the login is broken",
        progress="starting <blue>",
        outcome="running",
        ended_at=None,
    )
    log = deployment_log_path(settings.OROBOROS, deployment)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("started & probed\n")
    address = url_of(type(deployment), "change", deployment.pk)
    page = operator.get(address).content.decode()
    for text in (
        'data-live="2"',
        "starting &lt;blue&gt;",
        "the login is broken",
        "started &amp; probed",
        url_of(type(old), "change", live.pk),
    ):
        assert (text, text in page) == (text, True)
    type(deployment).objects.update(
        outcome="restored", ended_at=deployment.started_at, detail="no answer", guidance=["doctor"]
    )
    page = operator.get(address).content.decode()
    for text in ('data-live=""', "Restored", "no answer", 'class="oro-command">doctor<'):
        assert (text, text in page) == (text, True)
    listed = operator.get(url_of(type(deployment), "changelist")).content.decode()
    assert "the login is broken" in listed
    shown = operator.get(url_of(type(old), "change", old.pk)).content.decode()
    assert f'<a href="{address}">rollback {deployment.number}</a>' in shown
    assert "the login is broken" in shown
    assert operator.get(url_of(type(deployment), "change", 10**6)).status_code == 404


def test_the_page_of_an_ended_run_promises_nothing(operator):
    run = RunFactory(status=Status.CANCELED)
    page = operator.get(url_of(Run, "change", run.pk)).content.decode()
    for text in ("made", "ran", "built"):
        assert re.search(rf"No (decision was|checks|release was) {text}\.", page)
    assert page.count("was recorded.") == 2
    assert not re.search(
        r"Available after|No \w+ yet|after approval", page.partition("<h2>Mail")[0]
    )


def test_the_page_of_a_run_that_only_holds_a_slot_speaks_of_no_approval(operator):
    run = RunFactory(prepare=False, commit_sha="", status=Status.HOLDING)
    page = operator.get(url_of(Run, "change", run.pk)).content.decode()
    heads = re.findall("<h2>(.*?)</h2>", page)
    assert heads == ["Artifacts", "Events"]


def test_a_failed_runs_page_has_its_retry_and_failed_check(operator):
    run = RunFactory(status=Status.FAILED)
    child = RunFactory(parent=run)
    detail = "tests ended with exit code 1:\nE assert"
    progress = {"passed": ["lint ."], "running": "pytest <all>"}
    StepFactory(run=run, name="checks", status=StepStatus.FAILED, detail=detail, result=progress)
    page = operator.get(url_of(type(run), "change", run.pk)).content.decode()
    for text in (
        url_of(type(run), "change", child.pk),
        "</span> tests ended with exit code 1</p>",
        f"{render_chip('succeeded', 'succeeded')} <code>lint .</code>",
        f"{render_chip('failed', 'failed')} <code>pytest &lt;all&gt;</code>",
    ):
        assert (text, text in page) == (text, True)


def test_the_rollback_button_is_shown_to_operators_only(operator):
    restore = "./scripts/release-registry.sh restore r-1"
    live, old = ReleaseFactory(live=True, restore_command=restore), ReleaseFactory()
    DeploymentFactory(release=live, previous=old)
    run = RunFactory(status=Status.MERGED, release=live)
    address, button = url_of(type(run), "change", run.pk), url_of(type(old), "rollback", old.pk)
    for client, may in ((operator, True), (log_in("viewer"), False)):
        page = client.get(address).content.decode()
        assert (f"./scripts/rollback.sh {old.pk}" in page, button in page) == (True, may)
        assert f"{restore}</pre>" in page


def test_an_unknown_run_returns_404(operator):
    assert operator.get("/admin/runs/run/nonsense/change/").status_code == 404


@pytest.mark.parametrize(
    ("https", "admin_host", "url"),
    [
        ("false", "127.0.0.1:8000", "http://127.0.0.1:3100"),
        ("false", "localhost:8000", "http://localhost:3100"),
        ("false", "[::1]:8000", "http://[::1]:3100"),
        ("false", "[::1]", "http://[::1]:3100"),
        ("false", "api.localhost:8088", "http://localhost:3100"),
        ("false", "api.team.dev:8088", "http://app.team.dev:8088"),
        ("true", "api.team.dev", "https://app.team.dev"),
    ],
)
def test_the_link_of_production_is_of_the_host_that_the_browser_uses(https, admin_host, url):
    environ = {**settings.OROBOROS.environ, "OROBOROS_HTTPS": https}
    config = replace(settings.OROBOROS, environ=environ, domain="team.dev", web_port=3100)
    assert presenters.build_production_url(config, admin_host) == url


def test_a_live_page_is_sent_again_only_when_it_has_changed(operator):
    run = create_rows()
    for address in ("/admin/", url_of(type(run), "change", run.pk)):
        first = operator.get(f"{address}?live=1")
        assert "<html" not in first.content.decode()
        again = operator.get(f"{address}?live=1", headers={"if-none-match": first["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    EventFactory(run=run, text="something new")
    changed = operator.get(f"{address}?live=1", headers={"if-none-match": first["ETag"]})
    assert (changed.status_code, b"something new" in changed.content) == (200, True)


def test_pages_are_compressed_and_reload_seldom_while_nothing_runs(operator):
    page = operator.get("/admin/", headers={"accept-encoding": "gzip"})
    assert page["Content-Encoding"] == "gzip"
    assert 'data-live="15"' in operator.get("/admin/").content.decode()
    run = create_rows()
    assert 'data-live="5"' in operator.get("/admin/").content.decode()
    assert run_page.choose_live_seconds(run, has_lease=True) == run_page.IDLE_SECONDS
    run.status = Status.PREPARING
    assert run_page.choose_live_seconds(run, has_lease=True) == run_page.ACTIVE_SECONDS
    run.status = Status.MERGED
    assert run_page.choose_live_seconds(run, has_lease=False) is None
