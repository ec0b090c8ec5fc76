"""What /metrics says of the host, in Prometheus's text: counted in the database when asked."""

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

from releases.models import Activation
from runs import merge_queue
from runs.leasing import grants, queue_status
from runs.lifecycle import supervisor
from runs.models import Run
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState, SlotState
from web.permissions import VIEW

MEBIBYTE = 1024 * 1024


class Exposition(BaseRenderer):
    """The text as it is; a refusal as the JSON that it is everywhere."""

    media_type = "text/plain"
    format = "txt"

    def render(self, data: Any, *_: Any, **__: Any) -> bytes:
        return data if isinstance(data, bytes) else json.dumps(data).encode()


class Metrics(APIView):
    """The numbers of this moment, for a scraper whose token may `view`."""

    abilities = {"GET": VIEW}
    renderer_classes = [Exposition]

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    def get(self, request: Request) -> Response:
        """What the slots, both lines, the runs and production are doing, for Prometheus."""
        registry = CollectorRegistry()
        registry.register(Host())
        return Response(generate_latest(registry))


class Host(Collector):
    """The metrics; no label is an id, and every value of a label that there is has a number."""

    def collect(self) -> Iterator[Metric]:
        yield from _slots()
        yield from _runs()
        yield from _production()
        yield from _queue()


def _slots() -> Iterator[Metric]:
    line = queue_status.line()
    states = Counter(view.state for view in line.slots)
    yield _by("oroboros_slots", "Slots by what they are.", "state", _all(SlotState, states))
    yield _one("oroboros_slots_waiting", "Runs that wait for a slot.", line.waiting)
    asked = Lease.objects.filter(state=LeaseState.WAITING).aggregate(at=Min("asked_at"))["at"]
    longest = (line.at - asked).total_seconds() if asked else 0.0
    yield _one("oroboros_slots_longest_wait_seconds", "How long the first of them waits.", longest)
    room = grants.room()
    free = {"memory": room.memory_mb * MEBIBYTE, "disk": room.disk_mb * MEBIBYTE}
    yield _by("oroboros_host_free_bytes", "What the host has free.", "resource", free)


def _runs() -> Iterator[Metric]:
    counted = Run.objects.order_by().values_list("status").annotate(Count("pk"))
    yield _by("oroboros_runs", "Runs by status.", "status", _all(Status, dict(counted)))
    waiting = len(merge_queue.in_order())
    yield _one("oroboros_shipping_line", "Runs that ship or wait for it.", waiting)
    frozen = len(merge_queue.standing_freezes())
    yield _one("oroboros_shipping_freezes", "Freezes that hold shipping.", frozen)


def _production() -> Iterator[Metric]:
    made = CounterMetricFamily(
        "oroboros_activations", "Switches of production by kind and how they ended.",
        labels=("kind", "outcome"),
    )  # fmt: skip
    rows = Activation.objects.order_by().values_list("kind", "outcome").annotate(Count("pk"))
    for kind, outcome, count in rows:
        made.add_metric((kind, outcome), count)
    yield made


def _queue() -> Iterator[Metric]:
    said = supervisor.state()
    is_well = float(said["status"] == "ok")
    yield _one("oroboros_queue_up", "1 where the queue delivers, as the worker's /health.", is_well)
    yield _one("oroboros_queue_busy_workers", "Workers that carry a run.", said["busy"])


def _all(values: type[SlotState] | type[Status], counted: Mapping[Any, int]) -> dict[str, int]:
    return {value: counted.get(value, 0) for value in values.values}


def _by(name: str, text: str, label: str, counted: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in counted.items():
        family.add_metric((value,), number)
    return family


def _one(name: str, text: str, value: Any) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
