"""A change of one row leaves the other rows of its table as they are."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import login_throttle, tokens
from accounts.models import ApiToken, LoginAttempt
from core import claims
from forges.rules import DeliveryDecision
from notifications import targets
from releases.models import Deployment, Release
from releases.rules import DeploymentOutcome, ReleaseStatus
from runs.models import Precheck, Run
from runs.models.run import MoveRefused
from runs.rules import Status
from tests.factories import (
    DeliveryFactory,
    DeploymentFactory,
    NotificationFactory,
    PullRequestFactory,
    ReleaseFactory,
    RunFactory,
    ShareLinkFactory,
    TargetFactory,
)

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def make_token():
    name = f"program-{ApiToken.objects.count()}"
    secret = tokens.create_token(name, ["view"], created_by="ann", lifetime=HOUR)
    return tokens.find_token(secret)


def make_building():
    return ReleaseFactory(status=ReleaseStatus.BUILDING, built_at=None)


def make_precheck():
    run = RunFactory()
    fields = {"generation": 1, "commit_sha": run.commit_sha, "requested_at": timezone.now()}
    return Precheck.objects.create(run=run, **fields)


def claim(row):
    return type(row).objects.claim(row.pk, claims.make_owner_name())


CHANGES = {
    "a token is rotated": (
        make_token,
        lambda token: token.rotate("0", expires_at=None, grace=HOUR),
    ),
    "a token is revoked": (make_token, lambda token: token.revoke(by="ann")),
    "a token is used": (make_token, lambda token: tokens.record_use(token, "192.0.2.1")),
    "a target is disabled": (TargetFactory, lambda target: target.disable("410 Gone")),
    "a target is enabled": (TargetFactory, targets.enable_target),
    "a target is changed": (
        TargetFactory,
        lambda target: targets.change_target(target, events=[], branches=["a"]),
    ),
    "a secret is rotated": (lambda: TargetFactory(kind="webhook"), targets.rotate_secret),
    "a notification is answered": (NotificationFactory, lambda one: one.record_answer("204")),
    "a message is delivered": (NotificationFactory, lambda one: one.record_delivery()),
    "a message fails": (
        NotificationFactory,
        lambda one: one.record_failure("busy", due_at=timezone.now()),
    ),
    "a message is given up": (NotificationFactory, lambda one: one.give_up("gone")),
    "a head is allowed": (PullRequestFactory, lambda row: row.allow(row.head_sha, by="ann")),
    "a delivery is decided": (
        DeliveryFactory,
        lambda row: row.decide(DeliveryDecision.IGNORED, "no"),
    ),
    "a delivery is postponed": (DeliveryFactory, lambda row: row.postpone("silent", 5.0)),
    "a delivery is repeated": (DeliveryFactory, lambda row: row.repeat()),
    "a run is asked to stop": (
        RunFactory,
        lambda run: run.request_stop(to=Status.CANCELED, reason="no", actor="ann"),
    ),
    "a run is moved": (RunFactory, lambda run: run.move(Status.CANCELED)),
    "a claimed run is moved": (
        RunFactory,
        lambda run: run.move(Status.CANCELED, claim=claim(run)),
    ),
    "a share link is revoked": (ShareLinkFactory, lambda link: link.revoke(by="ann")),
    "a share link is used": (ShareLinkFactory, lambda link: link.record_use()),
    "a precheck is written": (make_precheck, lambda one: one.update(claim(one), detail="x")),
    "a build ends": (make_building, lambda one: one.finish_build(checksum="0", migrations=[])),
    "a build fails": (make_building, lambda one: one.fail("no")),
    "a restore point is kept": (ReleaseFactory, lambda one: one.record_restore_point("a", "b")),
    "a schema is changed": (ReleaseFactory, lambda one: one.record_schema_changes([{"a": "b"}])),
    "a build is removed": (ReleaseFactory, lambda one: one.record_removal()),
}


@pytest.mark.parametrize(("make", "change"), CHANGES.values(), ids=CHANGES)
def test_a_change_of_a_row_leaves_the_others_as_they_are(make, change):
    row, other = make(), make()
    rows = type(row)._default_manager
    before = {one.pk: rows.filter(pk=one.pk).values().get() for one in (row, other)}
    change(row)
    assert rows.filter(pk=other.pk).values().get() == before[other.pk]
    assert rows.filter(pk=row.pk).values().get() != before[row.pk]


def test_a_healthy_deployment_says_nothing_about_other_releases():
    other = ReleaseFactory(healthy_at=None)
    deployment = DeploymentFactory(outcome=DeploymentOutcome.RUNNING, ended_at=None)
    Release.objects.filter(pk=deployment.release_id).update(healthy_at=None)
    before = Deployment.objects.filter(pk=DeploymentFactory().pk).values().get()
    deployment.succeed(claim(deployment))
    assert Release.objects.get(pk=deployment.release_id).healthy_at is not None
    assert Release.objects.get(pk=other.pk).healthy_at is None
    assert Deployment.objects.filter(pk=before["number"]).values().get() == before


def test_a_successful_login_forgets_the_attempts_on_its_account_only():
    for account in ("ann", "bob"):
        login_throttle.count_attempt(account, "192.0.2.1")
    login_throttle.clear_attempts("ann")
    assert [attempt.account for attempt in LoginAttempt.objects.all()] == ["bob"]
    login_throttle.count_attempt("ann", "192.0.2.7")
    assert login_throttle.unlock_login("192.0.2.1") == 1
    assert [attempt.account for attempt in LoginAttempt.objects.all()] == ["ann"]


def test_of_two_requests_from_a_new_address_one_is_told_that_it_is_new():
    token = make_token()
    rival = ApiToken.objects.get(pk=token.pk)
    rival.is_use_recorded = False
    assert tokens.record_use(token, "192.0.2.1")
    assert not tokens.record_use(rival, "192.0.2.1")


def test_a_move_of_a_run_from_a_status_that_it_has_left_changes_nothing():
    run = RunFactory()
    rival = Run.objects.get(pk=run.pk)
    rival.move(Status.CANCELED)
    before = Run.objects.filter(pk=run.pk).values().get()
    with pytest.raises(MoveRefused, match="no longer"):
        run.move(Status.PREPARING)
    assert Run.objects.filter(pk=run.pk).values().get() == before
