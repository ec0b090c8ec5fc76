"""Every action asks for confirmation, needs its ability and a POST, and shows a refusal."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken
from host.errors import Refused
from releases.deployments import enqueue as releases
from runs import difference
from runs.approvals.rules import ApprovalState, Approver
from runs.difference import ChangedCheck, Difference
from runs.leasing import reservations
from runs.lifecycle import operations
from runs.models import Event, Freeze, Run
from runs.rules import Status
from slots.models import Slot
from slots.rules import LeaseState
from tests.factories import (
    FreezeFactory,
    LeaseFactory,
    PullRequestFactory,
    ReleaseFactory,
    RunFactory,
    SlotFactory,
    UserFactory,
)
from tests.host.postgres.schema_snapshots import snapshot_text
from tests.runs.admin.artifacts import write_artifact
from web.admin_actions import ReadOnlyAdmin
from web.permissions import VIEW

pytestmark = pytest.mark.django_db
NOW = timezone.now()
ACTIONS = [
    (found, action)
    for found in admin.site._registry.values()
    if isinstance(found, ReadOnlyAdmin)
    for action in found.page_actions
]
# The others are for all who may read; whose rows they may change is their own tests' subject.
OF_ROLES = [(found, action) for found, action in ACTIONS if action.ability != VIEW]


def log_in(*groups, **user):
    client = Client(enforce_csrf_checks=user.pop("enforce_csrf_checks", False))
    client.force_login(UserFactory(groups=groups, username="olga", **user))
    return client


@pytest.fixture
def operator():
    return log_in("operator")


@pytest.fixture
def run():
    return LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__title="Reactions"
    ).run


@pytest.fixture
def calls(monkeypatch):
    """Replaces the operations on runs and slots; the list of their calls."""
    recorded = []

    def replace(module, name):
        def record(*args, **kwargs):
            recorded.append((name, args, kwargs))
            if name == "keep":
                return NOW
            if name == "approve":
                return ApprovalState(given=(Approver("olga", "olga"),))
            return (RunFactory(), True) if name == "request_run" else RunFactory()

        monkeypatch.setattr(module, name, record)

    for name in ("request_run", "approve", "reject", "cancel", "retry", "keep"):
        replace(operations, name)
    replace(reservations, "release")
    return recorded


def url(action, row=None, model="runs_run"):
    return reverse(f"admin:{model}_{action}", args=[row.pk] if row else [])


@pytest.mark.parametrize(
    ("action", "body", "args", "kwargs"),
    [
        (
            "approve",
            {"commit_sha": "a" * 40, "reason": "fine"},
            1,
            {"commit_sha": "a" * 40, "reason": "fine", "accept_checks": False, "checklist": ()},
        ),
        ("reject", {"reason": "no"}, 1, None),
        ("cancel", {"reason": ""}, 1, None),
        ("retry", {}, 1, {}),
        ("keep", {"hours": "24"}, 1, {"seconds": 24 * 3600}),
    ],
)
def test_each_action_on_a_run_calls_its_operation_with_the_actor(
    operator, calls, run, action, body, args, kwargs
):
    page = operator.get(url(action, run))
    assert (page.status_code, calls) == (200, [])
    answer = operator.post(url(action, run), body)
    assert answer.status_code == 302
    [(name, call_args, call_kwargs)] = calls
    assert (name, call_args) == (action, (run,))
    assert call_kwargs == {**(body if kwargs is None else kwargs), "actor": "olga"}


@pytest.mark.parametrize(("action", "force"), [("release", False), ("force-release", True)])
def test_a_slot_is_released_from_the_runs_page(operator, calls, run, action, force):
    operator.post(url(action, run), {"reason": "why"})
    [(_, (slot, run_id), kwargs)] = calls
    assert (slot.slot_id, run_id) == ("preview-1", run.pk)
    assert kwargs == {"actor": "olga", "owner": None, "force": force, "reason": "why"}


def test_an_approver_releases_only_the_slots_of_their_own_runs(calls, run):
    log_in("approver").post(url("release", run), {"reason": ""})
    assert calls[0][2]["owner"] == "olga"


@pytest.mark.parametrize(
    ("action", "body"), [("cancel", {"reason": ""}), ("keep", {"hours": "24"})]
)
def test_an_approver_cancels_and_keeps_only_their_own_runs(calls, run, action, body):
    approver = log_in("approver")
    assert approver.post(url(action, run), body).status_code == 403
    assert calls == []
    Run.objects.filter(pk=run.pk).update(created_by="olga")
    assert approver.post(url(action, run), body).status_code == 302
    assert [name for name, *_ in calls] == [action]


def select(client, model, action, *rows):
    """Choose the action for the selected rows of a list; returns the address that it leads to."""
    answer = client.post(
        reverse(f"admin:{model}_changelist"),
        {"action": action, "_selected_action": [str(row.pk) for row in rows]},
    )
    assert answer.status_code == 302
    return answer.url


def test_an_action_on_selected_rows_is_confirmed_and_says_what_became_of_each(operator, calls, run):
    ended = RunFactory(title="Ended", status=Status.MERGED)
    address = select(operator, "runs_run", "cancel", run, ended)
    page = operator.get(address).content.decode()
    assert "Cancel: 2 selected" in page
    assert "The run is already merged." in page
    assert calls == []
    answer = operator.post(address, {"reason": "the sprint is over"}, follow=True)
    [(name, call_args, call_kwargs)] = calls
    assert (name, call_args) == ("cancel", (run,))
    assert call_kwargs == {"reason": "the sprint is over", "actor": "olga"}
    messages = [str(message) for message in answer.context["messages"]]
    assert len(messages) == 2
    assert "Ended: The run is already merged." in messages


def test_selected_slots_are_drained_with_one_reason(operator):
    slots = [SlotFactory(number=number) for number in (1, 2)]
    address = select(operator, "slots_slot", "drain", *slots)
    assert operator.post(address, {"reason": " "}).status_code == 200
    assert {slot.drained_at for slot in Slot.objects.all()} == {None}
    operator.post(address, {"reason": "disk is replaced"})
    assert {slot.drain_reason for slot in Slot.objects.all()} == {"disk is replaced"}


def test_selected_rows_need_the_ability_of_the_action(operator, run):
    address = select(operator, "runs_run", "force-release", run)
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    assert approver.get(address).status_code == 403
    assert approver.post(address, {"reason": "mine now"}).status_code == 403
    page = approver.get(reverse("admin:runs_run_changelist")).content.decode()
    assert ('value="cancel"' in page, 'value="force-release"' in page) == (True, False)


@pytest.mark.parametrize("query", ["", "row=no-uuid", "row=00000000-0000-0000-0000-000000000000"])
def test_selected_rows_that_do_not_exist_are_not_found(operator, query):
    address = f"{reverse('admin:runs_run_cancel_selected')}?{query}"
    assert operator.get(address).status_code == 404


def test_a_new_run_needs_either_a_branch_or_a_commit(operator, calls):
    page = operator.post(url("new"), {"branch": "", "commit": "", "title": ""})
    assert (page.status_code, calls) == (200, [])
    operator.post(url("new"), {"branch": "feature/a", "commit": "", "title": ""})
    assert calls[0][2] == {
        "title": "feature/a",
        "branch": "feature/a",
        "commit": "",
        "priority": 0,
        "another": False,
        "actor": "olga",
    }


def test_only_an_operator_gives_a_new_run_a_priority(operator, calls):
    body = {"branch": "feature/a", "commit": "", "title": "", "priority": "-3"}
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    refused = approver.post(url("new"), body)
    assert (refused.status_code, b"Only an operator" in refused.content) == (403, True)
    assert calls == []
    operator.post(url("new"), body)
    assert calls[0][2]["priority"] == -3


def test_a_missing_required_reason_is_a_form_error(operator, calls, run):
    for action in ("reject", "force-release"):
        page = operator.post(url(action, run), {"reason": "  "})
        assert (page.status_code, b"This field is required" in page.content) == (200, True)
    assert calls == []


def test_a_refusal_is_shown_on_the_actions_page(operator, run, monkeypatch):
    def refuse(run, **kwargs):
        raise Refused("not_ready", "Not <now>.")

    monkeypatch.setattr(operations, "cancel", refuse)
    page = operator.post(url("cancel", run), {"reason": ""})
    assert page.status_code == 409
    assert b"Not &lt;now&gt;." in page.content


def test_the_commit_that_the_page_showed_is_approved(operator, run):
    page = operator.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert f"approve/?commit_sha={run.commit_sha}" in page
    Run.objects.filter(pk=run.pk).update(commit_sha="b" * 40)
    answer = operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": ""})
    assert answer.status_code == 409
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY


def test_approving_without_the_commit_in_the_address_is_refused(operator, run):
    page = operator.post(url("approve", run), {"reason": "fine"})
    assert (page.status_code, b"Open this page with the Approve button" in page.content) == (
        200,
        True,
    )
    assert not run.approvals.exists()


def test_approving_changes_the_status_and_records_the_actor(operator, run):
    answer = operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": "fine"})
    assert answer.status_code == 302
    run.refresh_from_db()
    assert run.status == Status.APPROVED
    assert Event.objects.filter(run=run, kind="approved").get().actor == "olga"


def test_changed_checks_are_shown_and_accepted_by_operators_only(operator, run, monkeypatch):
    changed = Difference("a" * 40, run.commit_sha, checks=[ChangedCheck("tests", "pytest", None)])
    monkeypatch.setattr(difference, "compute_difference", lambda run, repo, path: changed)
    page = operator.get(url("approve", run)).content.decode()
    assert ("The branch changes the checks" in page, "<code>pytest</code> → removed" in page) == (
        True,
        True,
    )
    assert 'name="accept_checks"' in page
    body = {"commit_sha": run.commit_sha, "reason": "", "accept_checks": "on"}
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    refused = approver.post(url("approve", run), body)
    assert (refused.status_code, b"Only an operator" in refused.content) == (403, True)
    assert not run.approvals.exists()
    operator.post(url("approve", run), body)
    assert (run.approvals.get().actor, run.approvals.get().accepts_checks) == ("olga", True)
    after = operator.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "with its own checks only" in after


def test_the_approve_page_lists_irreversible_schema_changes(operator, run):
    before = snapshot_text({"public.entries": {"id": "bigint", "mood": "text"}})
    write_artifact(run, "schema_before", before)
    write_artifact(run, "schema_after", snapshot_text({"public.entries": {"id": "bigint"}}))
    page = operator.get(url("approve", run)).content.decode()
    assert ("column public.entries.mood" in page, "does not undo irreversible changes" in page) == (
        True,
        True,
    )


def test_the_approve_page_shows_schema_changes_without_a_summary(operator, run):
    columns = {"id": "bigint", "it's": "text"}
    reverse = dict(reversed(columns.items()))
    write_artifact(run, "schema_before", snapshot_text({"public.entries": columns}))
    write_artifact(run, "schema_after", snapshot_text({"public.entries": reverse}))
    for address in (url("approve", run), url("change", run)):
        page = operator.get(address).content.decode()
        calls = ("+    it&#x27;s text," in page, "do not change the schema" in page)
        assert (address, calls) == (address, (True, False))


def test_unchanged_checks_are_not_offered_for_acceptance(operator, run, monkeypatch):
    same = Difference("a" * 40, run.commit_sha)
    monkeypatch.setattr(difference, "compute_difference", lambda run, repo, path: same)
    page = operator.get(url("approve", run)).content.decode()
    assert ('name="reason"' in page, 'name="accept_checks"' in page) == (True, False)


def test_active_freezes_are_shown_on_the_approve_page_and_the_runs_page(operator, run):
    FreezeFactory(actor="ada", reason="a demo")
    FreezeFactory(actor="bob", reason="no power")
    page = operator.get(url("approve", run)).content.decode()
    assert ("a demo" in page, "no power" in page) == (True, True)
    operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": ""})
    page = operator.get(url("change", run)).content.decode()
    assert "next to ship after the freeze.\nShipping is frozen by bob since" in page
    assert "Shipping is frozen by ada since" in page


def test_slots_are_drained_quarantined_and_returned_to_service(operator, monkeypatch):
    monkeypatch.setattr("runs.leasing.cleanup.clean_slot", lambda config, slot: [])
    slot = SlotFactory(number=1)
    there_and_back = [
        ("drain", "drained_at", True),
        ("undrain", "drained_at", False),
        ("quarantine", "quarantined_at", True),
        ("unquarantine", "quarantined_at", False),
    ]
    for action, field, is_set in there_and_back:
        operator.post(url(action, slot, "slots_slot"), {"reason": "the disk"})
        assert (action, getattr(Slot.objects.get(), field) is not None) == (action, is_set)


def test_shipping_is_frozen_until_a_time_and_unfrozen(operator):
    until = (NOW + timedelta(days=300)).replace(second=0, microsecond=0)
    operator.post(url("freeze"), {"reason": "party", "until": f"{until:%Y-%m-%dT%H:%M}"})
    freeze = Freeze.objects.get()
    assert (freeze.reason, freeze.actor, freeze.until) == ("party", "olga", until)
    operator.post(url("unfreeze"), {"reason": "over"})
    freeze.refresh_from_db()
    assert (freeze.lifted_by, freeze.lift_reason) == ("olga", "over")


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"])
def test_a_freeze_until_the_last_representable_day_is_refused(operator, settings, zone):
    settings.TIME_ZONE = zone
    page = operator.post(url("freeze"), {"reason": "party", "until": "9999-12-31T23:59"})
    assert "A freeze ends within a year" in page.content.decode()
    assert not Freeze.objects.exists()


def test_a_rollback_lists_its_changes_and_needs_a_reason(operator, monkeypatch):
    old, calls = ReleaseFactory(), []
    ReleaseFactory(
        live=True,
        migrations=["app/migrations/0002.py"],
        schema_changes=[{"kind": "drops", "text": "column mood"}],
        migrated_at=old.created_at + timedelta(hours=1),
    )
    monkeypatch.setattr(
        releases, "enqueue_rollback", lambda *args, **kwargs: calls.append(kwargs) or old
    )
    ask = url("rollback", old, "releases_release")
    page = operator.get(ask).content.decode()
    assert "Changes that the rollback takes back" in page
    assert 'name="accept_schema"' in page
    assert operator.post(ask, {"reason": ""}).status_code == 200
    assert calls == []
    operator.post(ask, {"reason": "broken", "accept_schema": "on"})
    assert calls == [{"actor": "olga", "reason": "broken", "accept_schema": True}]


def test_a_rollback_that_loses_no_schema_change_asks_to_accept_none(operator):
    old = ReleaseFactory()
    ReleaseFactory(live=True)
    page = operator.get(url("rollback", old, "releases_release")).content.decode()
    assert 'name="reason"' in page
    assert "accept_schema" not in page


def test_a_token_is_created_shown_once_and_revoked(operator):
    operator.post(
        url("new", model="accounts_apitoken"), {"name": "ci", "abilities": ["view", "hold"]}
    )
    token = ApiToken.objects.get()
    first = operator.get(reverse("admin:accounts_apitoken_changelist")).content.decode()
    again = operator.get(reverse("admin:accounts_apitoken_changelist")).content.decode()
    assert ("oro_" in first, "oro_" in again) == (True, False)
    operator.post(url("revoke", token, "accounts_apitoken"))
    token.refresh_from_db()
    assert token.revoked_by == "olga"


def test_releasing_the_slot_of_an_ended_run_returns_409(operator):
    lease = LeaseFactory(held=True, slot__number=1, state=LeaseState.ENDED)
    assert operator.post(url("release", lease.run), {"reason": ""}).status_code == 409


# --- who


@pytest.mark.parametrize(
    ("found", "action"), OF_ROLES, ids=[f"{one.model.__name__}-{two.name}" for one, two in OF_ROLES]
)
def test_each_action_needs_its_ability_and_a_csrf_token(found, action, calls):
    rows = {
        "Run": RunFactory,
        "Slot": SlotFactory,
        "Release": ReleaseFactory,
        "PullRequest": PullRequestFactory,
    }
    row = None
    if action.is_for_row:
        make = rows.get(found.model.__name__)
        row = make() if make else ApiToken.objects.create(name="x", abilities=[], created_at=NOW)
    address = found.action_url(action, row)
    viewer = log_in("viewer")
    assert viewer.get(address).status_code == 403
    assert viewer.post(address).status_code == 403
    anonymous = Client().get(address)
    assert (anonymous.status_code, "/admin/login/" in anonymous["Location"]) == (302, True)
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(UserFactory(groups=["operator"]))
    assert guarded.post(address).status_code == 403
    assert calls == []


def test_a_page_shows_only_available_and_permitted_actions(run):
    page = reverse("admin:runs_run_change", args=[run.pk])
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    wanted = {"approve": True, "reject": True, "retry": False, "force-release": False}
    for client, may in ((log_in("viewer"), dict.fromkeys(wanted, False)), (approver, wanted)):
        seen = client.get(page).content.decode()
        assert {action: f"{run.pk}/{action}/" in seen for action in wanted} == may
