"""People whom a comment mentions are told of it, and no other person is."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db.models import F

from core.clock import get_database_time
from notifications import collecting
from notifications.forms import ChangeForm, NewMailForm, NewWebhookForm, fill_in
from notifications.models import Notification, Target
from notifications.rules import NotificationEvent
from runs.comments.writing import add_comment
from tests.factories import RunFactory, TargetFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def add_mail(add):
    """A function that makes a viewer with e-mail notices of their own."""

    def make(name, **fields):
        person = UserFactory(username=name, groups=["viewer"])
        return add("email", f"{name}@example.com", name=f"E-mail to {name}", owner=person, **fields)

    return make


@pytest.fixture
def collect(settings):
    def step():
        collecting.collect(settings.OROBOROS)
        rows = Notification.objects.order_by("pk").select_related("target")
        return [(one.target.name, one.event) for one in rows]

    return step


TO_RITA = ("E-mail to rita", "comment.mentioned")


def test_a_mention_is_told_to_the_person_alone(add, add_mail, collect):
    add("webhook", "https://hooks.example.com/x")
    add_mail("rita", branches=["release/*"]), add_mail("bob"), add_mail("ann")
    run = RunFactory(branch="feature", title="Reactions")
    add_comment(run, by="bob", text="@rita @bob @nobody: why?")
    assert collect() == collect() == [TO_RITA]
    told = Notification.objects.get()
    assert told.title == "You are mentioned in a comment: Reactions"
    assert "bob on the run: @rita @bob @nobody: why?" in told.text
    assert told.text.endswith(f"/admin/runs/run/{run.pk}/change/#comments")


def test_a_second_mention_on_the_same_run_is_quiet_for_an_hour(add_mail, collect):
    add_mail("rita"), add_mail("ann")
    run, other = RunFactory(), RunFactory()
    for text in ("@rita: one", "@rita: two", "@ann: three"):
        add_comment(run, by="bob", text=text)
    add_comment(other, by="bob", text="@rita: four")
    assert collect() == [TO_RITA, ("E-mail to ann", "comment.mentioned"), TO_RITA]
    Notification.objects.update(wanted_at=F("wanted_at") - timedelta(hours=2))
    add_comment(run, by="bob", text="@rita: five")
    assert collect()[3:] == [TO_RITA]


def test_a_comment_without_a_mention_tells_nothing(add_mail, collect):
    add_mail("rita")
    add_comment(RunFactory(), by="bob", text="rita@example.com")
    assert collect() == []


def test_a_person_who_may_not_see_runs_is_not_told(add_mail, collect):
    target = add_mail("rita")
    target.owner.groups.clear()
    add_comment(RunFactory(), by="bob", text="@rita")
    assert collect() == []


def test_a_person_who_does_not_want_mentions_is_not_told(add_mail, collect):
    add_mail("rita", events=[NotificationEvent.READY])
    add_comment(RunFactory(), by="bob", text="@rita")
    assert collect() == []


def test_only_a_persons_own_target_offers_mentions():
    def offered(form):
        return NotificationEvent.MENTIONED in dict(form.fields["events"].choices)

    assert offered(NewMailForm())
    assert not offered(NewWebhookForm())
    person = UserFactory(username="rita")
    for target, expected in (
        (TargetFactory(), False),
        (TargetFactory(kind="email", owner=person, secret=""), True),
    ):
        form = ChangeForm()
        fill_in(form, target)
        assert offered(form) is expected


def test_the_migration_adds_mentions_to_the_own_targets_of_people():
    migration = import_module("notifications.migrations.0002_mentions")
    person = UserFactory(username="rita")
    old = ["run.ready"]
    own = TargetFactory(kind="email", owner=person, secret="", events=old)
    team = TargetFactory(events=old)
    for function, expected in (
        (migration.add_mentions, [*old, "comment.mentioned"]),
        (migration.add_mentions, [*old, "comment.mentioned"]),
        (migration.remove_mentions, old),
    ):
        function(apps, None)
        assert Target.objects.get(pk=own.pk).events == expected
        assert Target.objects.get(pk=team.pk).events == old


def test_what_was_commented_before_the_target_is_not_told(add_mail, collect):
    run = RunFactory()
    add_comment(run, by="bob", text="@rita")
    target = add_mail("rita")
    assert collect() == []
    assert target.created_at <= get_database_time()
