"""A ready run is verified on today's target branch before its approval, and nothing stays of it."""

import os
import signal
from dataclasses import replace

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from host.errors import Refused
from host.postgres.administration import DatabaseAdmin
from releases.models import Deployment, Release
from releases.rules import DeploymentKind
from runs.approval_facts import read_approval_facts
from runs.lifecycle import branch_watch, execution, operations, reconciler
from runs.models import Precheck, Run
from runs.pipelines import merge_gate, shipping
from runs.prechecks import execution as prechecks
from runs.prechecks import requests, steps
from runs.prechecks.rules import SHIPS, PrecheckMode
from slots.models import Lease
from tests.factories import ReleaseFactory, UserFactory
from tests.runs.pipelines.shipping.harness import wait_for
from tests.runs.pipelines.shipping.processes import forked, wait_until

FAILS = '[checks]\nquick = "true"\nslow = "sh fails.sh"\n'


def check(run):
    """Request a precheck, do what a worker would, and return its row."""
    precheck = requests.request_precheck(run, actor="grace")
    prechecks.execute_next()
    precheck.refresh_from_db()
    return precheck


def list_traces(small, precheck):
    """Return what the precheck has on the machine and in the records."""
    config, name = settings.OROBOROS, str(precheck.pk)
    refs = small.git("for-each-ref", f"refs/oroboros/prechecks/{name}", cwd=config.var / "repo.git")
    gates = [*(config.var / "gates").glob(name), *(config.var / "app-gates").glob(name)]
    databases = [one for one in DatabaseAdmin(config).list_pipeline_databases() if name in one]
    rows = Release.objects.filter(run_id=precheck.pk)
    commits = {row.commit_sha[:12] for row in rows} | {precheck.candidate_sha[:12] or "none"}
    builds = [one for commit in commits for one in (config.var / "releases").glob(f"r-*-{commit}")]
    return [refs, gates, databases, builds, [*rows]]


NOTHING = ["", [], [], [], []]


def test_a_precheck_passes_is_stale_once_main_moves_and_verifies_nothing_that_ships(
    small, ready_small
):
    run = ready_small("precheck/passes")
    main = small.remote_main()
    precheck = check(run)
    assert (precheck.status, precheck.code, precheck.detail) == ("passed", "", "")
    assert list_traces(small, precheck) == NOTHING
    assert small.remote_main() == main
    run.refresh_from_db()
    assert (run.status, run.base_sha, run.candidate_sha, run.release) == (
        "preview_ready", "", "", None,
    )  # fmt: skip
    facts = read_approval_facts(run).precheck
    assert (facts.checks, facts.is_stale, facts.row.base_sha) == (["quick"], False, main)
    log = run.artifacts.get(name="precheck_checks_log")
    assert (settings.OROBOROS.var / "artifacts" / log.path).exists()
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.commit("main", {"moved.txt": "moved"})
    branch_watch.watch_branches()
    run.refresh_from_db()
    assert read_approval_facts(run).precheck.is_stale
    operations.approve(run, actor="grace")
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert run.status == "merged"
    assert run.candidate_sha != precheck.candidate_sha
    done = [step.name for step in run.steps.all()]
    assert {"migrations", "release", "start", "checks"} <= set(done)  # not taken from the precheck


def test_a_precheck_has_the_steps_of_the_gate_but_for_the_start_with_productions_secrets(small):
    names = [step.name for step in shipping.STEPS]
    assert steps.GATE == ("migrations", "release", "checks")
    assert names[1:5] == ["migrations", "release", "start", "checks"]


@pytest.mark.root
def test_the_commands_of_a_precheck_have_a_user_of_their_own(small, ready_small):
    files = {"oroboros.toml": '[checks]\nwho = "sh who.sh"\n', "who.sh": "id -u\n"}
    run = ready_small("precheck/user", files)
    precheck, config = check(run), settings.OROBOROS
    assert (precheck.status, precheck.detail) == ("passed", "")
    log = run.artifacts.get(name="precheck_checks_log")
    lines = (config.var / "artifacts" / log.path).read_text().splitlines()
    uid, job = str(config.precheck_user.uid), str(config.job_user.uid)
    assert uid in lines and job not in lines
    assert not config.precheck_user.pids()


def test_a_gate_waits_until_a_precheck_has_left(small, ready_small, monkeypatch):
    run, other = ready_small("precheck/runs"), ready_small("precheck/ships-beside")
    precheck = requests.request_precheck(run, actor="grace")
    Precheck.objects.filter(pk=precheck.pk).update(status="running")
    operations.approve(other, actor="grace")
    monkeypatch.setattr(merge_gate, "PRECHECK_SECONDS", 0.5)
    execution.execute_run(other.pk)
    other.refresh_from_db()
    assert (other.status, other.failure_code) == ("failed", "HOST_REFUSED")
    assert "A precheck has not ended" in other.failure_detail
    assert not other.steps.filter(name="release").exists()


@pytest.mark.full
def test_a_failed_precheck_names_the_step_the_commits_and_the_end_of_its_log(small, ready_small):
    run = ready_small(
        "precheck/fails", {"oroboros.toml": FAILS, "fails.sh": "echo the total is 41\nexit 1\n"}
    )
    precheck = check(run)
    assert (precheck.status, precheck.step, precheck.code) == ("failed", "checks", "CHECKS_FAILED")
    assert list_traces(small, precheck) == NOTHING
    facts = read_approval_facts(run).precheck
    assert facts.passed_commands == ["true"] and facts.running_command == "sh fails.sh"
    assert "the total is 41" in facts.lines and facts.log.name == "precheck_checks_log"
    assert run.events.filter(kind="precheck_failed").get().text.endswith("CHECKS_FAILED")
    run.refresh_from_db()
    assert run.status == "preview_ready"


@pytest.mark.full
def test_a_conflict_with_todays_main_fails_at_the_candidate(small, ready_small):
    run = ready_small("precheck/conflict", {"both.txt": "ours"})
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.commit("main", {"both.txt": "theirs"})
    precheck = check(run)
    assert (precheck.status, precheck.step, precheck.code) == (
        "failed", "candidate", "MERGE_CONFLICT",
    )  # fmt: skip
    run.refresh_from_db()
    assert not read_approval_facts(run).can_merge  # the forecast follows what was fetched


@pytest.fixture
def within(monkeypatch):
    """Call a function with the context before a step of the gate acts."""

    def arrange(step, happen):
        def changed(action):
            if action.name != step:
                return action

            def act(context):
                happen(context)
                action.act(context)

            return replace(action, act=act)

        monkeypatch.setattr(shipping, "STEPS", tuple(map(changed, shipping.STEPS)))

    return arrange


def wait_until_stopping(context):
    wait_until(context.is_stopping)
    context.raise_if_stopping()


def test_a_worker_that_is_killed_in_a_precheck_leaves_nothing_half_done(small, ready_small, within):
    run = ready_small("precheck/killed")
    precheck = requests.request_precheck(run, actor="grace")
    worker = forked(lambda: execute_and_die(within))
    assert wait_for(worker) != 0
    precheck.refresh_from_db()
    assert precheck.status == "running" and list_traces(small, precheck) != NOTHING
    assert not prechecks.execute(precheck.pk)  # its claim has not expired
    Precheck.objects.update(claim_expires_at=precheck.requested_at)
    assert reconciler.reconcile(settings.OROBOROS, dry_run=True) == []  # it is open
    prechecks.sweep(settings.OROBOROS)
    prechecks.execute_next()
    precheck.refresh_from_db()
    assert (precheck.status, precheck.attempts) == ("passed", 0)
    assert list_traces(small, precheck) == NOTHING


def execute_and_die(within):
    within("checks", lambda context: os.kill(os.getpid(), signal.SIGKILL))
    prechecks.execute_next()


@pytest.mark.full
def test_a_precheck_gives_way_to_a_run_that_ships_and_begins_again(small, ready_small, within):
    run, other = ready_small("precheck/waits"), ready_small("precheck/ships")

    def ship_the_other(context):
        if context.is_precheck and not other.approvals.exists():
            operations.approve(other, actor="grace")
            wait_until_stopping(context)

    within("release", ship_the_other)
    precheck = check(run)
    assert (precheck.status, precheck.detail, precheck.started_at) == ("waiting", SHIPS, None)
    assert list_traces(small, precheck) == NOTHING
    prechecks.execute_next()  # nothing may run
    execution.execute_run(other.pk)
    assert Run.objects.get(pk=other.pk).status == "merged"
    prechecks.execute_next()
    precheck.refresh_from_db()
    assert (precheck.status, precheck.base_sha) == ("passed", small.remote_main())


@pytest.mark.full
def test_a_precheck_ends_with_its_run_and_with_a_new_head(small, ready_small, within):
    run = ready_small("precheck/ends")

    def push(context):
        small.git("checkout", "-q", run.branch, cwd=small.clone)
        small.commit(run.branch, {"later.txt": "later"})
        branch_watch.watch_branches()
        wait_until_stopping(context)

    within("migrations", push)
    precheck = check(run)
    assert (precheck.status, list_traces(small, precheck)) == ("canceled", NOTHING)
    assert "new commit" in precheck.detail
    run.refresh_from_db()
    execution.execute_run(run.pk)
    run.refresh_from_db()
    assert read_approval_facts(run).precheck.is_stale
    waiting = requests.request_precheck(run, actor="grace")
    operations.cancel(run, actor="grace")
    prechecks.execute_next()
    waiting.refresh_from_db()
    assert (waiting.status, waiting.detail) == ("canceled", "The run is canceled.")
    with pytest.raises(Refused) as refused:
        requests.request_precheck(run, actor="grace")
    assert refused.value.code == "not_ready"


@pytest.mark.full
def test_an_automatic_precheck_is_requested_once_for_each_pair_of_commits(
    small, ready_small, monkeypatch
):
    config, run = settings.OROBOROS, ready_small("precheck/auto")
    assert (prechecks.sweep(config), requests.read_mode(config)) == (0, "manual")
    monkeypatch.setattr(requests, "read_mode", lambda config: PrecheckMode.AUTO)
    assert (prechecks.sweep(config), prechecks.sweep(config)) == (1, 1)
    prechecks.execute_next()
    assert prechecks.sweep(config) == 0
    assert run.prechecks.get().status == "passed"
    small.git("checkout", "-q", "main", cwd=small.clone)
    small.commit("main", {"auto.txt": "moved"})
    branch_watch.watch_branches()
    assert (prechecks.sweep(config), run.prechecks.count()) == (1, 2)


def test_the_page_and_the_api_request_and_show_a_precheck(small, ready_small):
    run, user = ready_small("precheck/page"), UserFactory(is_superuser=True, is_staff=True)
    page = Client()
    page.force_login(user)
    address = reverse("admin:runs_run_precheck", args=[run.pk])
    page.post(address)
    precheck = run.prechecks.get()
    assert precheck.requested_by == user.username
    assert page.post(f"/api/runs/{run.pk}/precheck", {}, "application/json").status_code == 202
    body = page.get(f"/api/runs/{run.pk}").json()
    assert body["approval_facts"]["precheck"]["status"] == "waiting"
    assert body["allowed_actions"]["precheck"] == {
        "allowed": False, "reason": "A check of this commit is under way.", "is_hidden": False,
    }  # fmt: skip
    prechecks.execute_next()
    text = page.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "Check now" in text
    assert "Check before approval" in text and " 1 check" in text and ", took " in text
    slot = Lease.objects.get(run=run).slot_id
    assert f'href="{reverse("admin:slots_slot_change", args=[slot])}#web"' in text


def test_a_temporary_release_is_not_listed_and_not_deployed(db):
    release = ReleaseFactory(is_temporary=True, built_at="2026-01-01T00:00Z", status="built")
    assert not Release.objects.listed()
    with pytest.raises(Refused) as refused:
        Deployment.objects.begin(release, kind=DeploymentKind.DEPLOY, actor="ada")
    assert refused.value.code == "release_is_temporary"
