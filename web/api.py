"""What all of the API shares: strict input, pages, and one shape for every error.

An error is `{"error": stable_code, "detail": sentence[, "fields": {name: sentence}]}`; nothing a
caller sends may end in a traceback.
"""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import IO, Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render, resolve_url
from django.utils.http import urlencode
from rest_framework import exceptions, serializers
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import BaseParser
from rest_framework.response import Response
from rest_framework.settings import api_settings

from host.errors import Refused

BODY_BYTES = 64 * 1024
JSON_DEPTH = 16
# The codes of what Django and DRF refuse themselves, by status.
CODES = {
    400: "invalid_input",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}


# --- errors


def body_of(code: str, detail: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the one shape of an error."""
    body: dict[str, Any] = {"error": code, "detail": detail}
    if fields:
        body["fields"] = dict(fields)
    return body


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Answer what a view raised; None for a bug, which Django logs and answers with 500."""
    if isinstance(exc, Refused):
        return Response(body_of(exc.code, exc.detail, exc.fields), exc.status)
    if isinstance(exc, OperationalError | InterfaceError):
        detail = "The database did not answer; ask again in a moment."
        return Response(body_of(CODES[503], detail), 503, headers={"Retry-After": "1"})
    exc = _as_drf(exc)
    if not isinstance(exc, exceptions.APIException):
        return None
    if login := _login_instead(exc, context["request"]):
        return login
    return Response(_body_of_drf(exc), exc.status_code, headers=_headers_of(exc))


def _as_drf(exc: Exception) -> Exception:
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(exc, RequestDataTooBig):
        return BodyTooLarge()
    return exc


class BodyTooLarge(exceptions.APIException):
    status_code = 413
    default_detail = f"The body may have {BODY_BYTES} bytes."


def _body_of_drf(exc: exceptions.APIException) -> dict[str, Any]:
    code = CODES.get(exc.status_code, "refused")
    if not isinstance(exc, exceptions.ValidationError):
        return body_of(code, str(exc.detail))
    fields = dict(_flat(exc.detail))
    return body_of(code, " ".join(f"{k}: {v}" if k else v for k, v in fields.items()), fields)


def _flat(detail: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            inner = "" if key == api_settings.NON_FIELD_ERRORS_KEY else str(key)
            yield from _flat(value, ".".join(part for part in (name, inner) if part))
    elif isinstance(detail, list) and not all(isinstance(item, str) for item in detail):
        for item in detail:
            yield from _flat(item, name)
    else:
        yield name, " ".join(map(str, detail)) if isinstance(detail, list) else str(detail)


def _headers_of(exc: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _login_instead(exc: exceptions.APIException, request: Any) -> HttpResponseRedirect | None:
    """An anonymous browser that wants to look gets the login, not an error page."""
    wants_page = getattr(getattr(request, "accepted_renderer", None), "format", "") == "api"
    if exc.status_code not in (401, 403) or not wants_page or request.method != "GET":
        return None
    if request._request.user.is_authenticated:
        return None
    return HttpResponseRedirect(login_url(request))


def login_url(request: HttpRequest) -> str:
    """Return the login that leads back to what was asked for."""
    return f"{resolve_url('admin:login')}?{urlencode({'next': request.get_full_path()})}"


def plain_error(request: HttpRequest, status: int, detail: str) -> HttpResponse:
    """Answer outside of DRF: JSON below /api/ and for whoever wants no page, else a page."""
    body = body_of(CODES[status], detail)
    if request.path.startswith("/api/") or not request.accepts("text/html"):
        return JsonResponse(body, status=status)
    return render(request, "error.html", body, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if isinstance(exception, RequestDataTooBig):
        return plain_error(request, 413, BodyTooLarge.default_detail)
    return plain_error(request, 400, "The request is malformed.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    return plain_error(request, 403, "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    return plain_error(request, 404, "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a bug without a query: the database may be what is broken."""
    detail = "Something went wrong here; the service's log has the cause."
    if not request.path.startswith("/api/") and request.accepts("text/html"):
        return HttpResponse(f"<!doctype html><title>500</title><p>{detail}", status=500)
    return JsonResponse(body_of(CODES[500], detail), status=500)


# --- input


class StrictJSONParser(BaseParser):
    """One JSON object in UTF-8: no key twice, nothing that PostgreSQL or a reader chokes on."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the object. Raises Refused with a code `json_…`, BodyTooLarge."""
        raw = stream.read(BODY_BYTES + 1)
        if len(raw) > BODY_BYTES:
            raise BodyTooLarge
        value = _decoded(raw)
        if not isinstance(value, dict):
            raise Refused("json_not_object", "The body must be one JSON object.", status=400)
        _check(value)
        return value


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise Refused("json_invalid", "The body is not UTF-8.", status=400) from None
    except ValueError as error:  # also an integer of more digits than Python reads
        raise Refused("json_invalid", f"The body is not JSON: {error}.", status=400) from None


def _too_deep() -> Refused:
    return Refused("json_too_deep", f"The body nests deeper than {JSON_DEPTH}.", status=400)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            name = _shown(key)
            detail = f"The key {name} is there twice."
            raise Refused("json_duplicate_key", detail, status=400, fields={name: "there twice"})
        seen[key] = value
    return seen


def _no_number(name: str) -> float:
    raise Refused("json_number_invalid", f"{name} is not a JSON number.", status=400)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _no_number("A number that is not finite")


def _check(top: dict[str, Any]) -> None:
    """Refuse depth and text that cannot be stored, without recursion."""
    pending: list[tuple[Any, int, str]] = [(top, 1, "")]
    while pending:
        value, depth, name = pending.pop()
        if depth > JSON_DEPTH:
            raise _too_deep()
        if isinstance(value, str):
            _check_text(value, name)
        elif isinstance(value, list):
            pending += [(item, depth + 1, name) for item in value]
        elif isinstance(value, dict):
            for key, item in value.items():
                _check_text(key, name or _shown(key))
                pending.append((item, depth + 1, name or key))


def _check_text(text: str, name: str) -> None:
    for character in text:
        if "\ud800" <= character <= "\udfff":
            wrong = "holds half of a surrogate pair"
        elif (character < " " and character not in "\t\n\r") or character == "\x7f":
            wrong = "holds a control character"
        else:
            continue
        raise Refused("json_text_invalid", f"{name}: {wrong}.", status=400, fields={name: wrong})


def _shown(key: str) -> str:
    """Return a key from outside as something that can be stored, logged and read."""
    return key.encode("ascii", "backslashreplace").decode()[:64]


class Text(serializers.CharField):
    """A string, and nothing that would have to be turned into one; one line unless said."""

    default_error_messages = {"line": "Must be one line."}

    def __init__(self, *, multiline: bool = False, **options: Any) -> None:
        self.multiline = multiline
        super().__init__(**options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if not self.multiline and any(character in data for character in "\t\n\r"):
            self.fail("line")
        return super().to_internal_value(data)


class Integer(serializers.IntegerField):
    """A JSON integer: no string, no fraction, no true."""

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(serializers.BooleanField):
    """JSON's true or false."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Moment(serializers.DateTimeField):
    """A date and time; without an offset it is the server's, and at the calendar's edge none."""

    def enforce_timezone(self, value: datetime) -> datetime:
        try:
            return super().enforce_timezone(value)
        except OverflowError:  # DRF looks for that only where an offset is given
            self.fail("overflow")


class Input(serializers.Serializer):
    """What a request may say: fields that are not declared are refused by name.

    Use `given(request)`; declare with Text, Integer, Flag and Moment, which coerce nothing.
    """

    @classmethod
    def given(cls, request: Any) -> dict[str, Any]:
        """Return the validated body. Raises Refused `unknown_field`, DRF's ValidationError."""
        serializer = cls(data=request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def to_internal_value(self, data: Any) -> Any:
        unknown = [key for key in data if key not in self.fields]
        if unknown:
            wrong = {_shown(key): _did_you_mean(key, list(self.fields)) for key in unknown}
            detail = " ".join(f"{name}: {text}" for name, text in wrong.items())
            raise Refused("unknown_field", detail, status=400, fields=wrong)
        return super().to_internal_value(data)


def _did_you_mean(key: str, known: list[str]) -> str:
    near = [name for name in known if key and (name.startswith(key) or key.startswith(name))]
    near = near or difflib.get_close_matches(key, known, n=1)
    if near:
        return f"not known (did you mean {near[0]}?)"
    return f"not known; known are: {', '.join(known) or 'none'}."


# --- output


class Pages(CursorPagination):
    """{results, next, previous}: a page costs the same however many rows there are."""

    page_size_query_param = "limit"
    max_page_size = 200

    def get_ordering(self, request: Any, queryset: Any, view: Any) -> tuple[str, ...]:
        return tuple(queryset.query.order_by or queryset.model._meta.ordering)

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {"results": data, "next": self.get_next_link(), "previous": self.get_previous_link()}
        )
