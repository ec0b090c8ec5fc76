"""GET /api/audit and its export as JSON lines, for operators."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.dateparse import parse_datetime
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder
from rest_framework.views import APIView

from accounts.models import AuditEntry, AuditEntryQuerySet
from host.errors import Refused
from web.permissions import OPERATE

CHUNK_ROWS = 1000
FIELDS = ("id", "at", "kind", "actor", "address", "agent", "target", "reason", "detail")
FILTERS = [
    OpenApiParameter("kind", str, enum=AuditEntry.Kind.values),
    OpenApiParameter("actor", str),
    OpenApiParameter("target", str),
    OpenApiParameter("since", OpenApiTypes.DATETIME),
    OpenApiParameter("until", OpenApiTypes.DATETIME),
]


class AuditEntrySerializer(serializers.ModelSerializer):
    """An entry; `target` is what it is about."""

    class Meta:
        model = AuditEntry
        fields = list(FIELDS)
        read_only_fields = fields


def filter_entries(request: Request) -> AuditEntryQuerySet:
    """Return the entries that the query asks for. Raises Refused `kind_unknown`, `time_invalid`."""
    query, entries = request.query_params, AuditEntry.objects.all()
    if "kind" in query and query["kind"] not in AuditEntry.Kind.values:
        known = ", ".join(AuditEntry.Kind.values)
        raise Refused("kind_unknown", f"The kind must be one of {known}.", status=400)
    for name in ("kind", "actor", "target"):
        if name in query:
            entries = entries.filter(**{name: query[name].replace("\0", "")})
    if "since" in query:
        entries = entries.filter(at__gte=_read_time(query["since"]))
    if "until" in query:
        entries = entries.filter(at__lt=_read_time(query["until"]))
    return entries


def _read_time(text: str) -> datetime:
    try:
        at = parse_datetime(text)
    except ValueError:
        at = None
    if at is None or at.utcoffset() is None:
        detail = "Give a time with its offset, such as 2026-11-28T12:00:00Z."
        raise Refused("time_invalid", detail, status=400)
    # PostgreSQL refuses offsets of 16 hours and more.
    try:
        return at.astimezone(UTC)
    except OverflowError:  # at an edge of the calendar, where no entry is
        return at.replace(tzinfo=UTC)


@extend_schema_view(get=extend_schema(parameters=FILTERS))
class AuditListView(ListAPIView):
    """The audit trail, newest first, filtered."""

    abilities = {"GET": OPERATE}
    serializer_class = AuditEntrySerializer

    def get_queryset(self) -> AuditEntryQuerySet:
        # drf-spectacular calls this without a request.
        if getattr(self, "swagger_fake_view", False):
            return AuditEntry.objects.none()
        return filter_entries(self.request)


class AuditExportView(APIView):
    abilities = {"GET": OPERATE}

    @extend_schema(parameters=FILTERS, responses={(200, "application/x-ndjson"): OpenApiTypes.STR})
    def get(self, request: Request) -> StreamingHttpResponse:
        """Return the filtered audit trail as JSON lines, newest first, as a download."""
        lines = write_lines(filter_entries(request))
        answer = StreamingHttpResponse(lines, content_type="application/x-ndjson")
        answer["Content-Disposition"] = 'attachment; filename="audit.jsonl"'
        return answer


def write_lines(entries: AuditEntryQuerySet) -> Iterator[bytes]:
    """Yield the entries as JSON lines, newest first, some at a time.

    Each query continues after the last row: it costs the same at any depth of the table.
    """
    last: int | None = None
    while True:
        rest = entries if last is None else entries.filter(pk__lt=last)
        rows: list[dict[str, Any]] = list(rest.order_by("-pk").values(*FIELDS)[:CHUNK_ROWS])
        if not rows:
            return
        yield "".join(f"{json.dumps(row, cls=JSONEncoder)}\n" for row in rows).encode()
        last = rows[-1]["id"]
