"""Serializer fields that accept exactly their JSON type and convert nothing."""

from datetime import datetime
from typing import Any

from rest_framework import serializers


class StrictCharField(serializers.CharField):
    """A JSON string; a single line unless `multiline` is set."""

    default_error_messages = {"multiline": "Must be a single line."}

    def __init__(self, *, multiline: bool = False, **options: Any) -> None:
        self.multiline = multiline
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):  # DRF would convert numbers to text
            self.fail("invalid")
        if not self.multiline and any(character in data for character in "\t\n\r"):
            self.fail("multiline")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    """A JSON integer, also written as 1.0 (JSON Schema). DRF would also accept "1" and true."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        # In Python a bool is an int.
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """JSON's true or false; DRF would also accept "yes", "on" and 1."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictDateTimeField(serializers.DateTimeField):
    """An ISO 8601 date and time. Without an offset it is in the server's time zone (TIME_ZONE)."""

    def enforce_timezone(self, value: datetime) -> datetime:
        try:
            return super().enforce_timezone(value)
        except OverflowError:  # DRF catches this only for values that have an offset
            self.fail("overflow")
