"""GET /metrics in Prometheus's text format. The values are computed at each request."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Count, Min
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from releases.models import Deployment
from runs import merge_queue
from runs.freezes import list_active_freezes
from runs.leasing import grants, queue_status
from runs.lifecycle import queue_health
from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState, SlotState
from web.permissions import VIEW

MEBIBYTE = 1024 * 1024


class PrometheusRenderer(BaseRenderer):
    """The exposition text as it is; errors as JSON."""

    media_type = "text/plain"
    format = "txt"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return data if isinstance(data, bytes) else json.dumps(data).encode()


class MetricsView(APIView):
    """The metrics of this host, for a scraper whose token has the ability `view`."""

    abilities = {"GET": VIEW}
    renderer_classes = [PrometheusRenderer]

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> Response:
        """Return metrics of slots, runs, merge queue and deployments, in Prometheus's format."""
        # Not the global registry: it has metrics of the process that happens to answer.
        registry = CollectorRegistry()
        registry.register(HostCollector())
        return Response(generate_latest(registry))

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code >= 400:  # an error, which is JSON
            response.content_type = "application/json"
        return response


class HostCollector(Collector):
    """The metrics. No label is an id, and every known label value is reported, also with 0."""

    def collect(self) -> Iterator[Metric]:
        yield from _collect_slots()
        yield from _collect_runs()
        yield from _collect_deployments()
        yield from _collect_task_queue()


def _collect_slots() -> Iterator[Metric]:
    status = queue_status.read_queue_status()
    states = Counter(slot.state for slot in status.slots)
    counts = _with_zeros(SlotState, states)
    yield _labeled_gauge("oroboros_slots", "Slots by state.", "state", counts)
    yield _gauge("oroboros_slots_waiting", "Runs waiting for a slot.", status.waiting)
    first = Lease.objects.filter(state=LeaseState.WAITING).aggregate(at=Min("requested_at"))["at"]
    longest = (status.at - first).total_seconds() if first else 0.0
    text = "Seconds that the longest waiting run has waited."
    yield _gauge("oroboros_slots_longest_wait_seconds", text, longest)
    capacity = grants.read_free_capacity()
    free = {"memory": capacity.memory_mb * MEBIBYTE, "disk": capacity.disk_mb * MEBIBYTE}
    text = "Free memory and disk of the host."
    yield _labeled_gauge("oroboros_host_free_bytes", text, "resource", free)


def _collect_runs() -> Iterator[Metric]:
    rows = Run.objects.order_by().values_list("status").annotate(Count("pk"))
    counts = _with_zeros(Status, dict(rows))
    yield _labeled_gauge("oroboros_runs", "Runs by status.", "status", counts)
    queued = len(merge_queue.list_queue())
    yield _gauge("oroboros_merge_queue_runs", "Runs that ship or wait to ship.", queued)
    freeze_count = len(list_active_freezes())
    yield _gauge("oroboros_shipping_freezes", "Active freezes of shipping.", freeze_count)


def _collect_deployments() -> Iterator[Metric]:
    family = CounterMetricFamily(
        "oroboros_deployments", "Deployments by kind and outcome.", labels=("kind", "outcome")
    )
    rows = Deployment.objects.order_by().values_list("kind", "outcome").annotate(Count("pk"))
    for kind, outcome, count in rows:
        family.add_metric((kind, outcome), count)
    yield family


def _collect_task_queue() -> Iterator[Metric]:
    health = queue_health.read_queue_health()
    text = "1 if the task queue delivers, as in the worker's /health."
    yield _gauge("oroboros_queue_up", text, float(health["status"] == "ok"))
    yield _gauge("oroboros_queue_busy_workers", "Workers that execute a run.", health["busy"])


def _with_zeros(
    values: type[SlotState] | type[Status], counts: Mapping[Any, int]
) -> dict[str, int]:
    return {value: counts.get(value, 0) for value in values.values}


def _labeled_gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def _gauge(name: str, text: str, value: Any) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
