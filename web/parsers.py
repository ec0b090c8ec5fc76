"""The strict JSON parser: it accepts one JSON object, and only values that can be stored."""

import json
import math
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from host.errors import Refused
from web.errors import MAX_BODY_BYTES, BodyTooLarge

MAX_DEPTH = 16


class StrictJSONParser(BaseParser):
    """One JSON object in UTF-8, without duplicate keys and without text PostgreSQL cannot store."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the object. Raises Refused with a code `json_…`, BodyTooLarge."""
        # One byte more than allowed tells a body that is too large; Content-Length may be absent.
        raw = stream.read(MAX_BODY_BYTES + 1)
        if len(raw) > MAX_BODY_BYTES:
            raise BodyTooLarge
        value = _decode(raw)
        if not isinstance(value, dict):
            raise Refused("json_not_object", "The body must be one JSON object.", status=400)
        _check(value)
        return value


def _decode(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_build_object,
            parse_constant=_reject_constant,
            parse_float=_parse_float,
        )
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise Refused("json_invalid", "The body is not UTF-8.", status=400) from None
    except ValueError as error:  # also an integer with more digits than Python converts (4300)
        raise Refused("json_invalid", f"The body is not JSON: {error}.", status=400) from None


def _too_deep() -> Refused:
    detail = f"The body is nested deeper than {MAX_DEPTH} levels."
    return Refused("json_too_deep", detail, status=400)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:  # json.loads would silently keep the last one
            name = make_printable(key)
            detail = f"The key {name} appears twice."
            raise Refused("json_duplicate_key", detail, status=400, fields={name: "appears twice"})
        result[key] = value
    return result


def _reject_constant(name: str) -> float:
    # Python's json accepts NaN, Infinity and -Infinity, which are not JSON.
    raise Refused("json_number_invalid", f"{name} is not a JSON number.", status=400)


def _parse_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _reject_constant("A number that is not finite")


def _check(body: dict[str, Any]) -> None:
    """Refuse deep nesting and text that cannot be stored; iterative, so depth costs no stack."""
    pending: list[tuple[Any, int, str]] = [(body, 1, "")]
    while pending:
        value, depth, name = pending.pop()
        if depth > MAX_DEPTH:
            raise _too_deep()
        if isinstance(value, str):
            _check_text(value, name)
        elif isinstance(value, list):
            pending += [(item, depth + 1, name) for item in value]
        elif isinstance(value, dict):
            for key, item in value.items():
                _check_text(key, name or make_printable(key))
                pending.append((item, depth + 1, name or make_printable(key)))


def _check_text(text: str, name: str) -> None:
    for character in text:
        # A lone surrogate cannot be encoded as UTF-8, and PostgreSQL's text cannot hold NUL.
        if "\ud800" <= character <= "\udfff":
            problem = "contains half of a surrogate pair"
        elif (character < " " and character not in "\t\n\r") or character == "\x7f":
            problem = "contains a control character"
        else:
            continue
        detail = f"{name}: {problem}."
        raise Refused("json_text_invalid", detail, status=400, fields={name: problem})


def make_printable(key: str) -> str:
    """Return a key from a request as ASCII text of at most 64 characters, safe to log."""
    return key.encode("ascii", "backslashreplace").decode()[:64]
