"""Run ids in requests: one id has exactly one accepted spelling."""

import re
import uuid
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from host.errors import Refused

# uuid.UUID() also accepts braces, capitals and missing hyphens.
RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def parse_run_id(text: str) -> uuid.UUID:
    """Return the id. Raises Refused `run_id_invalid` (400) for any other spelling of a UUID."""
    if not RUN_ID.fullmatch(text):
        detail = "A run id is a UUID in lower case with hyphens."
        raise Refused("run_id_invalid", detail, status=400, fields={"run_id": detail})
    return uuid.UUID(text)


@extend_schema_field({"type": "string", "format": "uuid"})
class RunIdField(serializers.Field):
    """A run id in a request body."""

    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str):
            raise serializers.ValidationError("Must be a string.")
        return parse_run_id(data)


class LeaseField(serializers.CharField):
    """A value of the slot's lease; null while no lease holds the slot."""

    def __init__(self, source: str) -> None:
        super().__init__(source=f"lease.{source}", default=None, allow_null=True, read_only=True)


class LeaseTimeField(serializers.DateTimeField):
    """A time of the slot's lease; null while no lease holds the slot."""

    def __init__(self, source: str) -> None:
        super().__init__(source=f"lease.{source}", default=None, allow_null=True, read_only=True)
