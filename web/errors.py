"""Every error of the API in one shape, and the error pages for browsers.

An error is `{"error": stable_code, "detail": sentence[, "fields": {name: sentence}]}`.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render, resolve_url
from django.utils.http import urlencode
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.settings import api_settings

from host.errors import Refused
from host.masking.known_secrets import read_masks

MAX_BODY_BYTES = 64 * 1024
# The codes of the errors that Django and DRF raise themselves, by status.
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


SERVER_ERROR_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>500 | Oroboros</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    '<meta name="color-scheme" content="light dark"><body style="margin: 12vh auto; max-width: '
    '36rem; padding: 1rem; font: 15px/1.55 system-ui"><main><h1>Error 500</h1><p>{detail}</p>'
    '<p><a href="/">Go to the dashboard</a></p></main>'
)


class BodyTooLarge(exceptions.APIException):
    """The request body has more than MAX_BODY_BYTES bytes."""

    status_code = 413
    default_detail = f"The request body may have at most {MAX_BODY_BYTES} bytes."


def error_body(code: str, detail: str, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the JSON object of an error."""
    body: dict[str, Any] = {"error": code, "detail": detail}
    if fields:
        body["fields"] = dict(fields)
    return body


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Return the response to an exception of a view, for DRF.

    None means that the exception is a bug: Django logs it and answers with status 500.
    """
    if isinstance(exc, Refused):
        # A refusal may quote what an application printed.
        body = error_body(exc.code, exc.detail, exc.fields)
        return Response(read_masks(settings.OROBOROS).mask_data(body), exc.status)
    # The database restarts or ends a session: the same request succeeds a moment later.
    if isinstance(exc, OperationalError | InterfaceError):
        detail = "The database did not answer. Try again in a moment."
        return Response(error_body(CODES[503], detail), 503, headers={"Retry-After": "1"})
    exc = _convert_to_api_exception(exc)
    if not isinstance(exc, exceptions.APIException):
        return None
    if redirect := _redirect_to_login(exc, context["request"]):
        return redirect
    return Response(_api_exception_body(exc), exc.status_code, headers=_error_headers(exc))


def _convert_to_api_exception(exc: Exception) -> Exception:
    # The messages of Django's exceptions are dropped: they may hold internal details.
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(exc, RequestDataTooBig):
        return BodyTooLarge()
    return exc


def _api_exception_body(exc: exceptions.APIException) -> dict[str, Any]:
    code = CODES.get(exc.status_code, "refused")
    if not isinstance(exc, exceptions.ValidationError):
        return error_body(code, str(exc.detail))
    fields = dict(_flatten(exc.detail))
    detail = " ".join(f"{name}: {text}" if name else text for name, text in fields.items())
    return error_body(code, detail, fields)


def _flatten(detail: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the text of each error in DRF's nested `detail`."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            inner = "" if key == api_settings.NON_FIELD_ERRORS_KEY else str(key)
            yield from _flatten(value, ".".join(part for part in (name, inner) if part))
    elif isinstance(detail, list) and not all(isinstance(item, str) for item in detail):
        for item in detail:
            yield from _flatten(item, name)
    else:
        yield name, " ".join(map(str, detail)) if isinstance(detail, list) else str(detail)


def _error_headers(exc: exceptions.APIException) -> dict[str, str]:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(exc, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _redirect_to_login(exc: exceptions.APIException, request: Any) -> HttpResponseRedirect | None:
    """Return a redirect to the login if an anonymous browser wants to view a page, else None."""
    renderer = getattr(getattr(request, "accepted_renderer", None), "format", "")
    # "api" is DRF's browsable API; "html" is the documentation, which has no other renderer.
    wants_page = renderer in ("api", "html") and "text/html" in request.META.get("HTTP_ACCEPT", "")
    if exc.status_code not in (401, 403) or not wants_page or request.method != "GET":
        return None
    # DRF's own `request.user` is a principal of the API; the browser's session is Django's.
    if request._request.user.is_authenticated:
        return None
    return HttpResponseRedirect(login_url(request))


def login_url(request: HttpRequest) -> str:
    """Return the address of the login that leads back to the requested page."""
    return f"{resolve_url('admin:login')}?{urlencode({'next': request.get_full_path()})}"


def error_response(
    request: HttpRequest, status: int, detail: str, *, advice: str = "", form_url: str = ""
) -> HttpResponse:
    """Return an error outside of DRF: JSON below /api/ and for programs, a page for browsers.

    The page says `advice`, and links `form_url`, the page of a form whose answer was refused.
    """
    body = error_body(CODES[status], detail)
    if request.path_info.startswith("/api/") or not request.accepts("text/html"):
        return JsonResponse(body, status=status)
    context = {**body, "status": status, "advice": advice, "form_url": form_url}
    # An error may come before the middleware that reads the session.
    if not getattr(getattr(request, "user", None), "is_staff", False):
        return render(request, "error.html", context, status=status)
    page = {**admin.site.each_context(request), **context, "title": f"Error {status}"}
    return render(request, "admin/error.html", page, status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler400`."""
    if isinstance(exception, RequestDataTooBig):
        return error_response(request, 413, BodyTooLarge.default_detail)
    advice = "Check the address, or go back and send the form again."
    return error_response(request, 400, "The request is malformed.", advice=advice)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler403`."""
    advice = "It needs another role. An administrator changes roles on the page Users."
    return error_response(request, 403, "You do not have permission to do this.", advice=advice)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: a form of another session, as after a log-in in another tab."""
    detail = "The form was not sent: it belongs to another session."
    advice = (
        "You may have logged in or out since you opened it. Open it again and send it; what you "
        "typed is filled in again."
    )
    url = request.get_full_path()
    return error_response(request, 403, detail, advice=advice, form_url=url)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's `handler404`."""
    advice = "The address may be misspelt, or what it showed was removed."
    return error_response(request, 404, "This page does not exist.", advice=advice)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's `handler500`. It renders no template and queries no table: either may be broken."""
    detail = "An internal error occurred. The service's log has the cause."
    if not request.path_info.startswith("/api/") and request.accepts("text/html"):
        return HttpResponse(SERVER_ERROR_PAGE.format(detail=detail), status=500)
    return JsonResponse(error_body(CODES[500], detail), status=500)
