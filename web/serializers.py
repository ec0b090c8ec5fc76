"""The base class of request bodies: unknown fields are refused."""

import difflib
from typing import Any

from rest_framework import serializers

from host.errors import Refused
from web.parsers import make_printable

UNKNOWN_MAX = 5  # named in an answer, which a large body must not make large


class StrictSerializer(serializers.Serializer):
    """A request body. Declare its fields with the classes of `web.fields`, which convert nothing.

    DRF ignores unknown fields; here a misspelled `ttl` must not become the default.
    """

    @classmethod
    def parse(cls, request: Any) -> dict[str, Any]:
        """Return the validated body. Raises Refused `unknown_field`, DRF's ValidationError."""
        serializer = cls(data=request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

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


def _suggest(key: str, known: list[str]) -> str:
    near = [name for name in known if key and (name.startswith(key) or key.startswith(name))]
    near = near or difflib.get_close_matches(key, known, n=1)
    if near:
        return f"unknown field (did you mean {near[0]}?)"
    return f"unknown field; known fields: {', '.join(known) or 'none'}."
