"""What the pages say of a state: one style, no contradiction, nothing that will not happen."""

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.clock import format_minute
from runs.admin.run_actions import describe_keep
from runs.models import Run
from runs.rules import Status
from slots.models import Lease, Slot
from tests.factories import (
    ArtifactFactory,
    FreezeFactory,
    LeaseFactory,
    RunFactory,
    StepFactory,
    UserFactory,
)
from web.templatetags.presentation import render_chip

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator():
    client = Client()
    client.force_login(UserFactory(username="olga", groups=["operator"]))
    return client


def url_of(run, action="change"):
    return reverse(f"admin:runs_run_{action}", args=[run.pk])


def read(client, address):
    return " ".join(client.get(address).content.decode().split())


def chip(state, text):
    return " ".join(render_chip(state, text).split())


def test_a_waiting_run_says_which_slot_it_waits_for_and_until_when(operator):
    # On another day, whenever the test runs: a time of today has no date.
    end = timezone.now() + timedelta(hours=30)
    LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY, expires_at=end)
    waiting = LeaseFactory().run
    clause = f"a slot when preview-1 is decided, at the latest {end:%Y-%m-%d %H:%M} UTC"
    for address in (url_of(waiting), "/admin/"):
        assert (address, clause in read(operator, address)) == (address, True)


def test_a_drained_slot_that_is_held_is_shown_as_draining_on_every_page(operator):
    LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY)
    waiting = LeaseFactory().run
    slot = Slot.objects.get()
    slot.drain(reason="a new kernel", actor="olga")
    pages = ("/admin/", "/admin/slots/slot/", f"/admin/slots/slot/{slot.pk}/change/")
    for address in pages:
        page = read(operator, address)
        for text in (chip("leased", "Leased"), chip("drained", "Draining"), "Drained by olga"):
            assert (address, text, text in page) == (address, text, True)
    assert chip("drained", "Draining") in read(operator, url_of(waiting))


def test_keep_says_when_the_lease_expires_and_that_a_later_end_is_not_changed(operator):
    lease = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY)
    later = timezone.now() + timedelta(hours=72)
    Lease.objects.update(expires_at=later)
    page = operator.post(url_of(lease.run, "keep"), {"hours": "4"}, follow=True)
    text = f"Nothing was changed: the preview keeps its slot until {format_minute(later)} already."
    assert text in page.content.decode()
    lease.refresh_from_db()
    assert lease.expires_at == later
    sooner = later - timedelta(hours=71)
    assert describe_keep(sooner, later).startswith("The preview was kept: its lease expires")


def test_messages_say_what_was_done_and_the_state_is_one_element(operator):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run
    FreezeFactory()
    body = {"commit_sha": run.commit_sha}
    operator.post(url_of(run, "approve"), body)
    page = read(operator, url_of(run))
    assert f"You approved {run.commit_sha[:12]}." in page
    assert page.count("Shipping is frozen by") == 1
    assert "Approved; next to ship after the freeze." in page
    Run.objects.filter(pk=run.pk).update(
        status=Status.FAILED, failure_code="CHECKS_FAILED", ended_at=timezone.now()
    )
    failed = read(operator, url_of(run))
    assert failed.count(chip("failed", "Failed")) == 1
    assert "next to ship" not in failed


def test_a_run_that_is_being_ended_says_so(operator):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREPARING).run
    Run.objects.filter(pk=run.pk).update(stop_status=Status.CANCELED, stop_actor="olga")
    assert "The run is being ended: its processes are stopped" in read(operator, url_of(run))


def test_an_ended_lease_is_not_shown_in_green(operator):
    now = timezone.now()
    LeaseFactory(held=True, slot__number=1, state="ended", ended_at=now, end_reason="BUILD_FAILED")
    page = read(operator, "/admin/slots/lease/")
    assert "BUILD_FAILED" in page
    label = page.partition('class="field-state_label')[2].partition("</td>")[0]
    assert ("> ended <" in label, "bg-base-500/8" in label, "green" in label) == (True, True, False)


def test_every_time_on_a_page_names_its_zone(operator):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREPARING).run
    step = StepFactory(run=run, name="install", status="running")
    ArtifactFactory(run=run, step=step)
    LeaseFactory()
    for address in ("/admin/", url_of(run), "/admin/slots/slot/", "/admin/slots/lease/"):
        page = read(operator, address)
        for time in (f"{run.created_at:%H:%M}",):
            assert (address, f"{time} UTC" in page or f"{time}:" in page) == (address, True)
        for line in page.split("<"):
            text = line.partition(">")[2].strip()
            if text.count(":") >= 2 and text[:2].isdigit():
                assert (address, text, "UTC" in text) == (address, text, True)


def test_the_header_of_a_page_below_a_run_names_the_run(operator):
    run = LeaseFactory(held=True, slot__number=1, run__title="Reactions").run
    for address in (url_of(run), url_of(run, "cancel")):
        header = read(operator, address).partition('id="header-inner"')[2].partition("<main")[0]
        assert (address, "Reactions" in header, url_of(run) in header) == (address, True, True)
        assert (address, '/admin/runs/"' in header, "/admin/runs/run/" in header) == (
            address,
            False,
            True,
        )


def test_unknown_and_retired_states_are_grey():
    assert "bg-base-500/8" in render_chip("retired", "Retired")
    assert "bg-base-500/8" in render_chip("ended", "Ended")
    assert "bg-red-100" in render_chip("failed", "Failed")


def test_a_chip_of_a_run_shows_text_of_people_as_text():
    assert "&lt;b&gt;" in render_chip("", "<b>")
    assert RunFactory.build().title not in render_chip("", "x")


def test_a_slots_page_lists_its_leases_with_restarts_and_how_each_ended(operator):
    at = timezone.now()
    options = {"held": True, "slot__number": 1}
    ended = LeaseFactory(run__title="First", process_restarts={"web": 2, "cron": 1}, **options)
    Lease.objects.filter(pk=ended.pk).update(
        state="ended", ended_at=at, end_reason="RELEASED", fence=1
    )
    LeaseFactory(run__title="Second", **options)
    Lease.objects.exclude(pk=ended.pk).update(fence=2)
    page = read(operator, reverse("admin:slots_slot_change", args=[ended.slot_id]))
    assert f"{format_minute(at)}; restarted cron 1 time, web 2 times; RELEASED" in page
    assert page.index(url_of(Lease.objects.get(fence=2).run)) < page.index(url_of(ended.run))
