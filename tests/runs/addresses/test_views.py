"""What the router asks about names: certificates, and names that no slot has."""

import socket
from dataclasses import replace
from datetime import timedelta

import pytest
from django.conf import settings as conf
from django.test import Client

from core.clock import ClockTimestamp
from runs.addresses import views
from runs.addresses.known_labels import READ_SECONDS, KnownLabel, KnownLabels, read_labels
from runs.addresses.rules import ENDED_DAYS
from runs.models import CertificateName, Run
from slots.models import Lease, LeaseState
from tests.factories import LeaseFactory, PullRequestFactory, RunFactory

pytestmark = pytest.mark.django_db
PREVIEWS = f"preview.{conf.DOMAIN}"
FORGE = {"FORGE": "github", "FORGE_REPOSITORY": "team/shop"}


@pytest.fixture(autouse=True)
def labels(monkeypatch):
    """Have each test read its own runs, at each question."""
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr(views, "known_labels", KnownLabels(lambda: next(clock)))


def may_have_certificate(name):
    status = Client().get("/internal/certificate", {"domain": name}).status_code
    assert status in (200, 404)
    return status == 200


def open_name(label, uri="/", **headers):
    headers |= {"x-oroboros-host": f"{label}.{PREVIEWS}:8088", "x-forwarded-uri": uri}
    return Client().get("/internal/preview", headers=headers)


def end(run, status="merged", days=0):
    ended_at = ClockTimestamp() - timedelta(days=days)
    Run.objects.filter(pk=run.pk).update(status=status, ended_at=ended_at)


def show(branch):
    """Return a run of the branch that had a slot, and has it no more."""
    run = RunFactory(branch=branch)
    LeaseFactory(run=run, state=LeaseState.ENDED, granted_at=ClockTimestamp())
    return run


def test_only_names_that_exist_may_have_a_certificate():
    run, old, waiting = show("feature/one"), show("old"), RunFactory(branch="waiting")
    LeaseFactory(run=waiting)
    end(old, days=ENDED_DAYS + 1)
    for name in ("app", "api", "preview3"):
        assert may_have_certificate(f"{name}.{conf.DOMAIN}")
    assert may_have_certificate(f"{run.label}.{PREVIEWS}")
    for label in ("gone-1a2b3c", old.label, waiting.label, "pr-7", f"x.{run.label}"):
        assert not may_have_certificate(f"{label}.{PREVIEWS}"), label
    for name in ("", f"preview4.{conf.DOMAIN}", conf.DOMAIN, "other.example", f"{run.label}.other"):
        assert not may_have_certificate(name), name
    assert not may_have_certificate(f"{run.label}.preview.localhost")


def test_a_day_has_so_many_new_names_and_those_of_before_and_fixed_ones_do_not_count(settings):
    values = {**conf.OROBOROS.environ, "CERTIFICATE_NAMES_PER_DAY": "2"}
    settings.OROBOROS = replace(conf.OROBOROS, environ=values)
    names = [f"{show(f'feature/{n}').label}.{PREVIEWS}" for n in range(4)]
    assert may_have_certificate(f"app.{conf.DOMAIN}")
    assert [may_have_certificate(name) for name in names[:3]] == [True, True, False]
    assert may_have_certificate(names[0]) and may_have_certificate(names[1].upper())
    assert may_have_certificate(f"preview2.{conf.DOMAIN}")
    yesterday = ClockTimestamp() - timedelta(hours=25)
    CertificateName.objects.filter(label=names[0].partition(".")[0]).update(allowed_at=yesterday)
    asked = [names[0], names[2], names[3]]
    assert [may_have_certificate(name) for name in asked] == [True, True, False]


def test_only_the_router_is_answered():
    run = RunFactory(branch="feature/one")
    ours, theirs = socket.socketpair()  # of no process of ours by its address
    with ours, theirs:
        meta = {"gunicorn.socket": ours, "REMOTE_ADDR": "198.51.100.1"}
        name = f"app.{conf.DOMAIN}"
        assert Client().get(f"/internal/certificate?domain={name}", **meta).status_code == 404
        headers = {"x-oroboros-host": f"{run.label}.{PREVIEWS}"}
        assert Client().get("/internal/preview", headers=headers, **meta).status_code == 404


def test_a_name_belongs_to_the_open_run_of_its_branch_else_to_the_one_that_ended_last():
    first, second, third = (RunFactory(branch="feature/one") for _ in range(3))
    end(first, days=2)
    end(third, days=1)
    assert read_labels() == {second.label: KnownLabel(str(second.pk), has_had_slot=False)}
    end(second, days=3)
    assert read_labels() == {second.label: KnownLabel(str(third.pk), has_had_slot=False)}
    LeaseFactory(run=first, state=LeaseState.ENDED, granted_at=ClockTimestamp())
    assert read_labels() == {second.label: KnownLabel(str(third.pk), has_had_slot=True)}


def test_the_runs_are_read_at_most_every_two_seconds_whatever_names_are_asked_for():
    times = iter([0.0, 0.0, 1.0, READ_SECONDS, READ_SECONDS])
    known = KnownLabels(lambda: next(times))
    assert not known.has_had_slot("gone-1a2b3c")
    run = show("feature/one")
    assert not known.has_had_slot(run.label)
    assert known.has_had_slot(run.label)


def test_a_name_without_a_slot_says_what_happened_to_its_run():
    run = RunFactory(branch="feature/one")
    waiting = open_name(run.label)
    assert (waiting.status_code, waiting["Retry-After"], waiting["Refresh"]) == (503, "5", "5")
    assert b"Its run waits for a slot" in waiting.content
    assert str(run.pk).encode() in waiting.content
    end(run)
    ended = open_name(run.label)
    assert (ended.status_code, "Refresh" in ended) == (404, False)
    assert b"Its run was merged" in ended.content
    assert b"No run of the last 30 days" in open_name("gone-1a2b3c").content
    assert Client().get("/internal/preview").status_code == 404


def test_a_pull_requests_name_leads_to_its_runs_and_says_why_it_has_none(settings):
    settings.OROBOROS = replace(conf.OROBOROS, environ={**conf.OROBOROS.environ, **FORGE})
    run = RunFactory(branch="feature/one")
    waiting = LeaseFactory(run=run)
    own = {"forge": "github", "repository": "team/shop"}
    PullRequestFactory(**own, number=7, run=run, head_branch="feature/one")
    PullRequestFactory(**own, number=8, head_branch="two", reason="It has no label preview.")
    PullRequestFactory(**own | {"repository": "team/other"}, number=9, run=run)
    assert [may_have_certificate(f"pr-{n}.{PREVIEWS}") for n in (7, 8, 9)] == [True, False, False]
    # Its run's own name has no certificate before it has had a slot.
    assert b"Its run waits for a slot" in open_name("pr-7", "/page?x=1").content
    Lease.objects.filter(pk=waiting.pk).update(state=LeaseState.ENDED, granted_at=ClockTimestamp())
    answer = open_name("pr-7", "/page?x=1")
    assert answer["Location"] == f"http://{run.label}.{PREVIEWS}:8088/page?x=1"
    assert open_name("pr-7", "//evil.example")["Location"].startswith(f"http://{run.label}.")
    assert b"It has no label preview." in open_name("pr-8").content
    end(run)
    assert b"Its run was merged" in open_name("pr-7").content
    assert may_have_certificate(f"pr-7.{PREVIEWS}")
    end(run, days=ENDED_DAYS + 1)
    assert not may_have_certificate(f"pr-7.{PREVIEWS}")


def test_a_branch_whose_label_is_like_a_pull_requests_keeps_its_name(monkeypatch):
    run = RunFactory(branch="feature/one")
    labels = {"pr-123456": KnownLabel(str(run.pk), has_had_slot=True)}
    monkeypatch.setattr("runs.addresses.known_labels.read_labels", lambda: labels)
    assert may_have_certificate(f"pr-123456.{PREVIEWS}")
    assert b"Its run waits" in open_name("pr-123456").content
