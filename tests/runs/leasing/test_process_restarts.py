"""A person restarts the processes of a preview: of their own run, and only while it has them."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from core.clock import get_database_time
from host.errors import Refused
from runs.leasing import backend_supervision
from runs.leasing.process_restarts import restart_processes
from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from slots.runtime import backend
from slots.runtime import spec as specs
from tests.factories import LeaseFactory, UserFactory
from tests.runs.lifecycle.test_process_ends import busy
from tests.runs.lifecycle.test_reconciler import (
    clean_slot,
    config,
    events,
    folder,
    lease_of,
    place,
    preview,
    row,
    whole_config,
)
from tests.slots.runtime.test_processes import find_pids

__all__ = ["busy", "clean_slot", "config", "folder", "place", "preview", "row", "whole_config"]


def restart(place, run, process="", **fields):
    asked = {"reason": "it hangs", "actor": "ann", "owner": None, **fields}
    restart_processes(place, run.pk, process=process, **asked)


def test_one_process_or_all_are_restarted_and_the_timeline_says_who_and_why(config, place, busy):
    before = find_pids(backend.status(config, place))
    restart(place, busy, "worker")
    after = find_pids(backend.status(config, place))
    changed = {name for name in before if before[name] != after[name]}
    assert (changed, None in after.values()) == ({"worker"}, False)
    restart(place, busy)
    again = find_pids(backend.status(config, place))
    assert not {*after.values()} & {*again.values()} and None not in again.values()
    assert events("restarted") == [
        "the process worker of preview-1 was restarted: it hangs",
        "every process of preview-1 was restarted: it hangs",
    ]
    assert busy.events.filter(kind="restarted", actor="ann").count() == 2
    assert lease_of(busy).process_restarts == {}  # which counts those that ended by themselves


def test_processes_that_were_stopped_by_hand_are_started(config, place, busy):
    backend.stop(config, place)
    with pytest.raises(Refused, match="has no process 'beat'"):
        restart(place, busy, "beat")
    assert specs.read(place).wanted == "down"  # a refused restart starts nothing
    restart(place, busy)
    assert all(one.is_active for one in backend.list_processes(config, place))


def test_a_backend_that_starts_slowly_after_a_restart_is_left_alone(config, place, busy):
    begun = get_database_time()
    restart(place, busy)
    lease = lease_of(busy)
    (place.folder / "spec.json").write_text(
        (place.folder / "spec.json").read_text().replace('"/health"', '"/absent"')
    )
    probed = backend_supervision.check_backend(config, place, lease, dry_run=False)
    assert (len(probed), events("backend_silent"), lease_of(busy).restarts) == (1, [], 0)
    assert lease_of(busy).unhealthy_at >= begun + timedelta(seconds=backend.START_SECONDS)
    # Without the restart it would be silent by now, and due to be restarted.
    Lease.objects.filter(pk=lease.pk).update(unhealthy_at=timezone.now() - timedelta(seconds=30))
    backend_supervision.check_backend(config, place, lease_of(busy), dry_run=False)
    assert lease_of(busy).restarts == 1


@pytest.mark.parametrize(
    ("change", "fields", "code"),
    [
        ({}, {"reason": " "}, "reason_required"),
        ({}, {"owner": "bob"}, "lease_not_yours"),
        ({}, {"fence": 10**6}, "lease_fenced"),
        ({"status": Status.PREPARING}, {}, "preview_not_ready"),
        ({}, {}, "no_backend"),
    ],
)
@pytest.mark.django_db
def test_a_restart_is_refused(change, fields, code):
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run
    Run.objects.filter(pk=run.pk).update(**change)
    with pytest.raises(Refused) as caught:
        restart(settings.OROBOROS.slots[0], run, **fields)
    assert caught.value.code == code
    assert events("restarted") == []


@pytest.fixture
def held(db):
    """A ready run on the first slot which has a backend, as far as its spec says."""
    run = LeaseFactory(held=True, slot__number=1, run__status=Status.PREVIEW_READY).run
    config = settings.OROBOROS
    spec = specs.Spec(str(run.pk), "a" * 40, 1, ("true",), Path("/"))
    specs.write(config, config.slots[0], spec, {})
    yield run
    specs.delete(config.slots[0])


def log_in(group, username):
    client = Client()
    client.force_login(UserFactory(groups=[group], username=username))
    return client


@pytest.mark.django_db
def test_the_slots_page_offers_what_its_run_allows(held):
    slot = Lease.objects.get(run=held).slot
    page = reverse("admin:slots_slot_change", args=[slot.pk])
    Run.objects.filter(pk=held.pk).update(created_by="ann")
    query = f"?run_id={held.pk}"
    shown = {
        name: {
            action
            for action in ("restart", "force-release")
            if f"/{action}/{query}" in client.get(page).content.decode()
        }
        for name, client in (
            ("viewer", log_in("viewer", "vera")),
            ("owner", log_in("approver", "ann")),
            ("another", log_in("approver", "bob")),
            ("operator", log_in("operator", "olga")),
        )
    }
    assert shown == {
        "viewer": set(),
        "owner": {"restart"},
        "another": set(),
        "operator": {"restart", "force-release"},
    }


@pytest.mark.django_db
def test_the_slots_page_acts_only_on_the_run_that_it_showed(held):
    slot = Lease.objects.get(run=held).slot
    operator = log_in("operator", "olga")
    for action in ("restart", "force-release"):
        address = reverse(f"admin:slots_slot_{action}", args=[slot.pk])
        body = {"reason": "it hangs", "run_id": str(uuid.uuid4()), "process": ""}
        assert operator.post(address, body).status_code == 404
        assert "No run was passed" in operator.post(address, {"reason": "x"}).content.decode()
    assert Lease.objects.get(run=held).state == "held"
    operator.post(address, {"reason": "it hangs", "run_id": str(held.pk)})
    assert events("released") == ["released by force: it hangs"]
