"""One decision on every action: for the buttons of the admin and for the API alike."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.tokens import create_token
from runs import allowed_actions, presenters
from runs.allowed_actions import DECISIONS, RunFacts, decide_action, decide_unfreeze
from runs.approvals.rules import Approver
from runs.leasing.rules import NOT_READY
from runs.models import Run
from runs.rules import Status
from tests.factories import FreezeFactory, LeaseFactory, RunFactory, StepFactory, UserFactory
from web.permissions import GROUPS, OWNER_REFUSAL

VIEWER, APPROVER, OPERATOR = (GROUPS[name] for name in ("viewer", "approver", "operator"))
SERVED = {"has_slot": True, "has_processes": True}
READY = {"status": Status.PREVIEW_READY, "has_expiry": True, **SERVED}
SHIPPING = {"status": Status.DEPLOYING, "is_too_late": True, **SERVED}


def states(abilities, **facts):
    """Return what a person sees of each action: True, the reason why not, or None for nothing."""
    found = {name: decide_action(name, RunFacts(**facts), abilities) for name in DECISIONS}
    return {
        name: None if state.is_hidden else state.allowed or state.reason
        for name, state in found.items()
    }


@pytest.mark.parametrize(
    ("abilities", "facts", "shown"),
    [
        (VIEWER, READY, {}),
        (
            APPROVER,
            READY,
            dict.fromkeys(
                ("approve", "precheck", "reject", "keep", "cancel", "release", "restart"), True
            ),
        ),
        (
            APPROVER,
            {**READY, "is_own": False},
            {
                "approve": True,
                "precheck": True,
                "reject": True,
                **dict.fromkeys(("keep", "cancel", "release", "restart"), OWNER_REFUSAL),
            },
        ),
        (
            OPERATOR,
            SHIPPING,
            {
                "reject": allowed_actions.TOO_LATE,
                "cancel": allowed_actions.TOO_LATE,
                "release": allowed_actions.KEPT_WHILE_SHIPPING,
                "restart": True,
                "force_release": True,
            },
        ),
        (
            OPERATOR,
            {**SHIPPING, "has_processes": False, "is_stopping": True},
            {
                "reject": allowed_actions.TOO_LATE,
                "cancel": allowed_actions.TOO_LATE,
                "release": allowed_actions.KEPT_WHILE_SHIPPING,
                "force_release": True,
            },
        ),
        (
            APPROVER,
            {"status": Status.PREPARING, "has_slot": True},
            {
                "approve": "The preview is not ready yet.",
                "reject": True,
                "cancel": True,
                "release": True,
                "restart": NOT_READY,
            },
        ),
        (
            APPROVER,
            {"status": Status.PREPARING, "is_stopping": True},
            {
                "approve": "The preview is not ready yet.",
                "reject": "The run is already being ended.",
                "cancel": "The run is already being ended.",
            },
        ),
        (APPROVER, {"status": Status.FAILED}, {"retry": True}),
        (APPROVER, {"status": Status.MERGED}, {}),
        (
            APPROVER,
            {"status": Status.HOLDING, "is_reservation": True, "has_slot": True},
            {"cancel": True, "release": True},
        ),
    ],
)
def test_each_action_is_shown_disabled_with_its_reason_or_hidden(abilities, facts, shown):
    assert states(abilities, **facts) == {name: shown.get(name) for name in DECISIONS}


def test_a_commit_that_another_run_merged_cannot_be_approved():
    shown = states(APPROVER, **READY, merged_in="Reactions")
    assert shown["approve"] == "This commit is merged already, by the run Reactions."


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ("merges", True),
        ("conflicts", True),
        ("contained", "there is nothing to ship"),
        ("unchanged", "there is nothing to ship"),
        ("unrelated", "shares no history"),
    ],
)
def test_what_the_approval_would_refuse_of_the_merge_is_disabled(outcome, reason):
    run = RunFactory(status=Status.PREVIEW_READY)
    forecast = {"commit": run.commit_sha, "base": "b" * 40, "outcome": outcome, "conflicts": []}

    def decide(**stored):
        Run.objects.filter(pk=run.pk).update(merge_forecast=stored)
        facts = allowed_actions.read_facts(presenters.select_runs().get(pk=run.pk), owner=None)
        return decide_action("approve", facts, APPROVER)

    state = decide(**forecast)
    assert state.allowed if reason is True else reason in state.reason
    assert state.allowed is (reason is True)
    assert decide(**{**forecast, "commit": "c" * 40}).allowed  # the forecast of another commit
    assert decide().allowed


def test_unfreezing_is_offered_only_to_operators_while_shipping_is_frozen():
    found = [
        decide_unfreeze(abilities, is_frozen=is_frozen).is_hidden
        for abilities in (APPROVER, OPERATOR)
        for is_frozen in (False, True)
    ]
    assert found == [True, True, True, False]


@pytest.fixture
def approver(db):
    client = Client()
    client.force_login(UserFactory(groups=["approver"], username="olga"))
    return client


@pytest.mark.django_db
def test_the_api_and_the_runs_page_have_the_same_decision(approver):
    run = LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__created_by="alice"
    ).run
    secret = create_token("ci", ["view", "hold"], created_by="tests")
    program = Client(headers={"authorization": f"Bearer {secret}"})
    for address in (f"/api/runs/{run.pk}", "/api/runs"):
        body = program.get(address).json()
        states = body.get("results", [body])[0]["allowed_actions"]
        assert set(states) == set(DECISIONS)
        assert states["approve"] == {
            "allowed": False,
            "reason": "This needs the ability approve.",
            "is_hidden": True,
        }
        assert states["cancel"] == {"allowed": False, "reason": OWNER_REFUSAL, "is_hidden": False}
    page = approver.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "Keep, Cancel, Release slot: Another user created this run" in page
    assert f"{run.pk}/cancel/" not in page
    refused = approver.get(reverse("admin:runs_run_cancel", args=[run.pk])).content.decode()
    assert (OWNER_REFUSAL in refused, "disabled>Cancel" in refused) == (True, True)


@pytest.mark.django_db
def test_unfreezing_and_priorities_are_not_offered_where_they_are_refused(approver):
    operator = Client()
    operator.force_login(UserFactory(groups=["operator"]))
    runs, unfreeze = reverse("admin:runs_run_changelist"), reverse("admin:runs_run_unfreeze")
    assert unfreeze not in operator.get(runs).content.decode()
    assert "Shipping is not frozen." in operator.get(unfreeze).content.decode()
    FreezeFactory()
    assert unfreeze in operator.get(runs).content.decode()
    new = reverse("admin:runs_run_new")
    fields = [b'name="priority"' in client.get(new).content for client in (approver, operator)]
    assert fields == [False, True]


@pytest.mark.django_db
def test_only_the_run_that_merges_is_asked_for_its_steps(django_assert_num_queries):
    for number in range(3):
        RunFactory(status=Status.APPROVED, approved_at=f"2026-01-01T00:0{number}Z")
    merging = RunFactory(status=Status.MERGING, approved_at="2026-01-01T00:00Z")
    StepFactory(run=merging, name="merge")
    runs = list(presenters.select_runs())
    with django_assert_num_queries(1):
        found = {run.pk for run in runs if allowed_actions.read_facts(run, owner=None).is_too_late}
    assert found == {merging.pk}


@pytest.mark.django_db
def test_a_second_run_of_a_merged_commit_says_so(approver):
    first = RunFactory(status=Status.MERGED, title="Reactions")
    run = LeaseFactory(
        held=True,
        slot__number=1,
        run__status=Status.PREVIEW_READY,
        run__commit_sha=first.commit_sha,
    ).run
    page = approver.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "is merged already, by the run Reactions" in page
    assert f"{run.pk}/approve/" not in page
    Run.objects.filter(pk=first.pk).update(status=Status.CANCELED)
    page = approver.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert f"{run.pk}/approve/" in page


@pytest.mark.django_db
@pytest.mark.parametrize("prepare", [True, False])
def test_a_run_without_a_preview_is_a_reservation(prepare):
    run = presenters.select_runs().get(pk=RunFactory(prepare=prepare).pk)
    facts = allowed_actions.read_facts(run, owner=None)
    assert (facts.status, facts.is_reservation) == (Status.QUEUED, not prepare)
    assert (facts.is_own, facts.has_slot, facts.approval_refusal) == (True, False, "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("status", "is_refused"), [(Status.PREVIEW_READY, True), (Status.PREPARING, False)]
)
def test_who_may_not_approve_a_ready_run_is_told_why(configure, status, is_refused):
    configure(APPROVAL_SELF="forbidden")
    run = presenters.select_runs().get(pk=RunFactory(status=status).pk)
    facts = allowed_actions.read_facts(run, owner="bob", approver=Approver("ann", "ann"))
    # What the target branch requires is read by a step of the preview, which this run lacks.
    assert facts.approval_refusal.startswith("What the target branch requires") is is_refused
    assert not facts.is_own
