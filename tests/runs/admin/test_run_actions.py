"""Every button asks first, does it by POST, for whom it should, and shows a rule's no."""

from datetime import timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import ApiToken
from host.errors import Refused
from releases.deployments import enqueue as releases
from runs import presenters
from runs.leasing import reservations
from runs.lifecycle import operations
from runs.models import Event, Freeze, Run
from runs.presenters import ChangedCheck, Difference
from runs.rules import Status
from slots.models import Slot
from slots.rules import LeaseState
from tests.factories import (
    FreezeFactory,
    LeaseFactory,
    ReleaseFactory,
    RunFactory,
    SlotFactory,
    UserFactory,
)
from tests.runs.admin.artifacts import written
from web.admin_actions import Rows

pytestmark = pytest.mark.django_db
NOW = timezone.now()
VERBS = [
    (found, verb)
    for found in admin.site._registry.values()
    if isinstance(found, Rows)
    for verb in found.verbs
]


def logged_in(*groups, **user):
    client = Client(enforce_csrf_checks=user.pop("enforce_csrf_checks", False))
    client.force_login(UserFactory(groups=groups, username="olga", **user))
    return client


@pytest.fixture
def operator():
    return logged_in("operator")


@pytest.fixture
def run():
    return LeaseFactory(
        held=True, slot__number=1, run__status=Status.PREVIEW_READY, run__title="Reactions"
    ).run


@pytest.fixture
def told(monkeypatch):
    """What runs and releases were asked for, in their place."""
    calls = []

    def put(place, name):
        def called(*args, **given):
            calls.append((name, args, given))
            return RunFactory()

        monkeypatch.setattr(place, name, called)

    for name in ("create_run", "approve", "reject", "cancel", "retry", "keep"):
        put(operations, name)
    put(reservations, "release")
    return calls


def url(verb, row=None, model="runs_run"):
    return reverse(f"admin:{model}_{verb}", args=[row.pk] if row else [])


@pytest.mark.parametrize(
    ("verb", "body", "args", "given"),
    [
        (
            "approve",
            {"commit_sha": "a" * 40, "reason": "fine"},
            1,
            {"commit_sha": "a" * 40, "reason": "fine", "accept_checks": False},
        ),
        ("reject", {"reason": "no"}, 1, None),
        ("cancel", {"reason": ""}, 1, None),
        ("retry", {}, 1, {}),
        ("keep", {"hours": "24"}, 1, {"seconds": 24 * 3600}),
    ],
)
def test_a_button_of_a_run_reaches_the_run_with_its_actor(
    operator, told, run, verb, body, args, given
):
    page = operator.get(url(verb, run))
    assert (page.status_code, told) == (200, [])
    answer = operator.post(url(verb, run), body)
    assert answer.status_code == 302
    [(name, reached, was_given)] = told
    assert (name, reached) == (verb, (run,))
    assert was_given == {**(body if given is None else given), "actor": "olga"}


@pytest.mark.parametrize(("verb", "force"), [("release", False), ("force-release", True)])
def test_a_slot_is_released_from_its_runs_page(operator, told, run, verb, force):
    operator.post(url(verb, run), {"reason": "why"})
    [(_, (slot, run_id), given)] = told
    assert (slot.slot_id, run_id) == ("preview-1", run.pk)
    assert given == {"actor": "olga", "owner": None, "force": force, "reason": "why"}


def test_an_approver_releases_what_is_theirs_only(told, run):
    logged_in("approver").post(url("release", run), {"reason": ""})
    assert told[0][2]["owner"] == "olga"


def test_a_new_run_names_a_branch_or_a_commit(operator, told):
    page = operator.post(url("new"), {"branch": "", "commit": "", "title": ""})
    assert (page.status_code, told) == (200, [])
    operator.post(url("new"), {"branch": "feature/a", "commit": "", "title": ""})
    assert told[0][2] == {
        "title": "feature/a",
        "branch": "feature/a",
        "commit": "",
        "priority": 0,
        "actor": "olga",
    }


def test_an_operator_gives_a_new_run_a_priority_and_an_approver_does_not(operator, told):
    body = {"branch": "feature/a", "commit": "", "title": "", "priority": "-3"}
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    refused = approver.post(url("new"), body)
    assert (refused.status_code, b"Only an operator" in refused.content) == (403, True)
    assert told == []
    operator.post(url("new"), body)
    assert told[0][2]["priority"] == -3


def test_a_reason_that_is_required_is_asked_for(operator, told, run):
    for verb in ("reject", "force-release"):
        page = operator.post(url(verb, run), {"reason": "  "})
        assert (page.status_code, b"This field is required" in page.content) == (200, True)
    assert told == []


def test_a_rules_no_is_shown_where_it_was_asked(operator, run, monkeypatch):
    def no(run, **given):
        raise Refused("not_ready", "Not <now>.")

    monkeypatch.setattr(operations, "cancel", no)
    page = operator.post(url("cancel", run), {"reason": ""})
    assert page.status_code == 409
    assert b"Not &lt;now&gt;." in page.content


def test_the_commit_that_was_looked_at_is_the_one_approved(operator, run):
    page = operator.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert f"approve/?commit_sha={run.commit_sha}" in page
    Run.objects.filter(pk=run.pk).update(commit_sha="b" * 40)
    answer = operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": ""})
    assert answer.status_code == 409
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY


def test_who_comes_to_approve_by_an_address_without_the_commit_is_told(operator, run):
    page = operator.post(url("approve", run), {"reason": "fine"})
    assert (page.status_code, b"come here by the button" in page.content) == (200, True)
    assert not run.approvals.exists()


def test_approving_moves_the_run_and_tells_who(operator, run):
    answer = operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": "fine"})
    assert answer.status_code == 302
    run.refresh_from_db()
    assert run.status == Status.APPROVED
    assert Event.objects.filter(run=run, kind="approved").get().actor == "olga"


def test_changed_checks_are_shown_where_an_operator_accepts_them(operator, run, monkeypatch):
    changed = Difference("a" * 40, run.commit_sha, checks=[ChangedCheck("tests", "pytest", None)])
    monkeypatch.setattr(presenters, "difference", lambda run, repo: changed)
    page = operator.get(url("approve", run)).content.decode()
    assert ("It changes the checks" in page, "<code>pytest</code> → gone" in page) == (True, True)
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


def test_who_approves_is_told_what_the_migrations_drop(operator, run):
    table = "CREATE TABLE public.entries (\n    id bigint NOT NULL{}\n);\n"
    written(run, "schema_before", table.format(",\n    mood text"))
    written(run, "schema_after", table.format(""))
    page = operator.get(url("approve", run)).content.decode()
    assert ("column public.entries.mood" in page, "does not come back" in page) == (True, True)


def test_who_approves_reads_a_change_of_the_schema_that_has_no_name(operator, run):
    written(run, "schema_before", "COMMENT ON TABLE public.entries IS 'old';\n")
    written(run, "schema_after", "COMMENT ON TABLE public.entries IS 'new';\n")
    for address in (url("approve", run), url("change", run)):
        page = operator.get(address).content.decode()
        told = ("IS &#x27;new&#x27;" in page, "change nothing in it" in page)
        assert (address, told) == (address, (True, False))


def test_nobody_is_asked_about_checks_that_stay_as_they_are(operator, run, monkeypatch):
    same = Difference("a" * 40, run.commit_sha)
    monkeypatch.setattr(presenters, "difference", lambda run, repo: same)
    page = operator.get(url("approve", run)).content.decode()
    assert ('name="reason"' in page, 'name="accept_checks"' in page) == (True, False)


def test_who_approves_sees_what_holds_shipping_and_then_the_run_says_it(operator, run):
    FreezeFactory(actor="ada", reason="a demo")
    FreezeFactory(actor="bob", reason="no power")
    page = operator.get(url("approve", run)).content.decode()
    assert ("a demo" in page, "no power" in page) == (True, True)
    operator.post(url("approve", run), {"commit_sha": run.commit_sha, "reason": ""})
    page = operator.get(url("change", run)).content.decode()
    assert "next to ship.\nShipping is frozen by bob since" in page
    assert "Shipping is frozen by ada since" in page


def test_slots_are_drained_and_quarantined_and_back(operator, monkeypatch):
    monkeypatch.setattr("runs.leasing.cleanup.clean", lambda config, slot: [])
    slot = SlotFactory(number=1)
    there_and_back = [
        ("drain", "drained_at", True),
        ("undrain", "drained_at", False),
        ("quarantine", "quarantined_at", True),
        ("unquarantine", "quarantined_at", False),
    ]
    for verb, field, is_set in there_and_back:
        operator.post(url(verb, slot, "slots_slot"), {"reason": "the disk"})
        assert (verb, getattr(Slot.objects.get(), field) is not None) == (verb, is_set)


def test_shipping_is_frozen_until_a_time_and_unfrozen(operator):
    until = (NOW + timedelta(days=300)).replace(second=0, microsecond=0)
    operator.post(url("freeze"), {"reason": "party", "until": f"{until:%Y-%m-%dT%H:%M}"})
    freeze = Freeze.objects.get()
    assert (freeze.reason, freeze.actor, freeze.until) == ("party", "olga", until)
    operator.post(url("unfreeze"), {"reason": "over"})
    freeze.refresh_from_db()
    assert (freeze.lifted_by, freeze.lift_reason) == ("olga", "over")


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin"])
def test_a_freeze_until_the_calendars_last_day_is_refused(operator, settings, zone):
    settings.TIME_ZONE = zone
    page = operator.post(url("freeze"), {"reason": "party", "until": "9999-12-31T23:59"})
    assert "A freeze ends within a year" in page.content.decode()
    assert not Freeze.objects.exists()


def test_a_rollback_shows_what_it_takes_back_and_needs_a_reason(operator, monkeypatch):
    old, calls = ReleaseFactory(), []
    ReleaseFactory(
        live=True,
        migrations=["app/migrations/0002.py"],
        schema_changes=[{"kind": "drops", "text": "column mood"}],
        migrated_at=old.created_at,
    )
    monkeypatch.setattr(
        releases, "request_rollback", lambda *args, **given: calls.append(given) or old
    )
    ask = url("rollback", old, "releases_release")
    page = operator.get(ask).content.decode()
    assert "What it takes back" in page
    assert operator.post(ask, {"reason": ""}).status_code == 200
    assert calls == []
    operator.post(ask, {"reason": "broken", "accept_schema": "on"})
    assert calls == [{"actor": "olga", "reason": "broken", "accept_schema": True}]


def test_a_token_is_made_shown_once_and_revoked(operator):
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


def test_an_ended_run_has_no_slot_to_release(operator):
    lease = LeaseFactory(held=True, slot__number=1, state=LeaseState.ENDED)
    assert operator.post(url("release", lease.run), {"reason": ""}).status_code == 409


# --- who


@pytest.mark.parametrize(
    ("found", "verb"), VERBS, ids=[f"{found.model.__name__}-{verb.name}" for found, verb in VERBS]
)
def test_each_button_needs_its_ability_and_a_csrf_token(found, verb, told):
    rows = {"Run": RunFactory, "Slot": SlotFactory, "Release": ReleaseFactory}
    row = None
    if verb.on_row:
        make = rows.get(found.model.__name__)
        row = make() if make else ApiToken.objects.create(name="x", abilities=[], created_at=NOW)
    address = found.verb_url(verb, row)
    viewer = logged_in("viewer")
    assert viewer.get(address).status_code == 403
    assert viewer.post(address).status_code == 403
    anonymous = Client().get(address)
    assert (anonymous.status_code, "/admin/login/" in anonymous["Location"]) == (302, True)
    guarded = Client(enforce_csrf_checks=True)
    guarded.force_login(UserFactory(groups=["operator"]))
    assert guarded.post(address).status_code == 403
    assert told == []


def test_a_page_offers_only_what_fits_and_what_one_may(run):
    page = reverse("admin:runs_run_change", args=[run.pk])
    approver = Client()
    approver.force_login(UserFactory(groups=["approver"]))
    wanted = {"approve": True, "cancel": True, "retry": False, "force-release": False}
    for client, may in ((logged_in("viewer"), dict.fromkeys(wanted, False)), (approver, wanted)):
        seen = client.get(page).content.decode()
        assert {verb: f"{run.pk}/{verb}/" in seen for verb in wanted} == may
