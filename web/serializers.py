"""The base class of request bodies, which refuses unknown fields, and answers made often.

An instance of a serializer copies its fields, which takes longer than to validate a small body or
to represent a small answer. Neither changes the instance, so each class has one for all requests.
"""

import difflib
from functools import cache
from typing import Any, TypeVar

from rest_framework import serializers

from host.errors import Refused
from web.parsers import make_printable

T = TypeVar("T", bound=serializers.Serializer)
UNKNOWN_MAX = 5  # named in an answer, which a large body must not make large


class StrictSerializer(serializers.Serializer):
    """A request body. Declare its fields with the classes of `web.fields`, which convert nothing.

    DRF ignores unknown fields; here a misspelled `ttl` must not become the default.
    """

    @classmethod
    def parse(cls, request: Any) -> dict[str, Any]:
        """Return the validated body. Raises Refused `unknown_field`, DRF's ValidationError."""
        validated: dict[str, Any] = _get_instance(cls).run_validation(request.data)
        return validated

    def to_internal_value(self, data: Any) -> Any:
        unknown = [key for key in data if key not in self.fields]
        if unknown:
            known = list(self.fields)
            problems = {make_printable(key): _suggest(key, known) for key in unknown[:UNKNOWN_MAX]}
            detail = " ".join(f"{name}: {text}" for name, text in problems.items())
            if len(unknown) > UNKNOWN_MAX:
                detail += f" {len(unknown) - UNKNOWN_MAX} more fields are unknown."
            raise Refused("unknown_field", detail, status=400, fields=problems)
        return super().to_internal_value(data)


def represent(serializer: type[serializers.Serializer], value: Any) -> dict[str, Any]:
    """Return the value as the serializer's object: for answers that are asked for all the time."""
    return dict(_get_instance(serializer).to_representation(value))


@cache
def _get_instance(serializer: type[T]) -> T:
    return serializer()


def _suggest(key: str, known: list[str]) -> str:
    near = [name for name in known if key and (name.startswith(key) or key.startswith(name))]
    near = near or difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown field (did you mean {near[0]}?)"
    return f"unknown field; known fields: {', '.join(known) or 'none'}."
