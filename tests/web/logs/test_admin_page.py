"""The logs of processes on an admin page: what is listed, and who sees those of production."""

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from releases import admin as releases_admin
from slots.runtime import backend_log
from tests.factories import ReleaseFactory, SlotFactory, UserFactory
from web.logs.admin_page import describe_page_logs


def test_each_log_has_its_address_its_file_name_and_whether_it_is_followed(tmp_path):
    for name in ("web", "old"):
        (tmp_path / name).write_text("a line\n")
    logs = {name: tmp_path / name for name in ("web", "absent", "old")}
    found = describe_page_logs(
        logs, source="place", make_url="/log/{}".format, is_running=lambda name: name != "old"
    )
    assert [(one["url"], one["filename"], one["is_running"]) for one in found] == [
        ("/log/web", "place-web", True),
        ("/log/old", "place-old", False),
    ]


@pytest.mark.django_db
def test_a_slots_page_has_the_logs_of_the_run_and_of_the_run_before_it():
    config, slot = settings.OROBOROS, SlotFactory(number=1)
    log = backend_log.path(config, config.slot(slot.slot_id))
    log.parent.mkdir(parents=True, exist_ok=True)
    client = Client()
    client.force_login(UserFactory(groups=["viewer"]))
    files = (log, log.with_name(f"{log.name}.1"))
    try:
        for file in files:
            file.write_text("a line\n")
        page = client.get(reverse("admin:slots_slot_change", args=[slot.pk])).content.decode()
    finally:
        for file in files:
            file.unlink(missing_ok=True)
    for name in ("web", "previous:web"):
        assert reverse("api-slot-log", args=[slot.slot_id, name]) in page


@pytest.mark.django_db
def test_only_operators_see_the_logs_of_production_on_a_releases_page(tmp_path, monkeypatch):
    release = ReleaseFactory(live=True)
    (tmp_path / "log").write_text("a line\n")
    monkeypatch.setattr(releases_admin, "list_logs", lambda *_: {"web": tmp_path / "log"})
    address = reverse("api-release-log", args=[release.pk, "web"])
    shown = {}
    for role in ("viewer", "approver", "operator"):
        client = Client()
        client.force_login(UserFactory(groups=[role]))
        page = client.get(reverse("admin:releases_release_change", args=[release.pk]))
        shown[role] = address in page.content.decode()
    assert shown == {"viewer": False, "approver": False, "operator": True}
