"""GET /metrics, read with Prometheus's own parser."""

import json

import pytest
from django.conf import settings
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from accounts.tokens import create_token
from runs import freezes
from runs.rules import Status
from tests.factories import DeploymentFactory, LeaseFactory, RunFactory, SlotFactory

pytestmark = pytest.mark.django_db


def scrape():
    client = APIClient()
    token = create_token("scraper", ["view"], created_by="olga")
    answer = client.get("/metrics", HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_ACCEPT="text/plain")
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        200,
        "text/plain; charset=utf-8",
    )
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_slots_queues_runs_and_deployments_are_counted():
    SlotFactory(number=1)
    LeaseFactory(held=True, slot__number=2, run__status=Status.PREVIEW_READY)
    LeaseFactory(run__status=Status.QUEUED)
    RunFactory(status=Status.APPROVED)
    DeploymentFactory(outcome="succeeded", ended_at="2026-01-01T00:00Z")
    freezes.freeze_shipping(actor="olga", reason="audit")
    found = scrape()
    assert (found["oroboros_slots", "free"], found["oroboros_slots", "leased"]) == (1, 1)
    assert found["oroboros_slots", "quarantined"] == 0
    assert found["oroboros_slots_waiting",] == 1
    assert found["oroboros_slots_longest_wait_seconds",] > 0
    assert found["oroboros_runs", "preview_ready"] == 1
    assert (found["oroboros_merge_queue_runs",], found["oroboros_shipping_freezes",]) == (1, 1)
    assert found["oroboros_deployments_total", "deploy", "succeeded"] == 1
    assert found["oroboros_host_free_bytes", "disk"] > 0


def test_a_queue_without_a_heartbeat_is_down():
    assert scrape()["oroboros_queue_up",] == 0


def test_metrics_need_the_ability_view():
    answer = APIClient().get("/metrics")
    assert (answer.status_code, json.loads(answer.content)["error"]) == (401, "not_authenticated")


def test_the_reference_page_names_every_metric():
    DeploymentFactory()
    page = (settings.BASE_DIR / "docs/reference/metrics.md").read_text()
    assert [name for name, *_ in scrape() if f"`{name}" not in page] == []
