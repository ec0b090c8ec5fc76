"""Puts what people and programs change, and what they are refused, on the audit trail."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException

from accounts.audit.recording import record_request
from accounts.audit.rules import Answered, decide_kind, name_object
from host.errors import Refused

SIGNED_OUT = "oroboros.signed_out"  # in the request's META


def audit_requests(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: record each request that changed something or was refused, after its answer.

    Of every view of the API and of the admin, also of one that is added later.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        match = request.resolver_match
        answered = Answered(
            request.method or "",
            request.path_info,
            response.status_code,
            match.view_name if match is not None else "",
            match.kwargs if match is not None else None,
        )
        if kind := decide_kind(answered):
            _record_answer(request, response, answered, kind)
        return response

    middleware.process_view = _remember_who_signs_out  # type: ignore[attr-defined]
    return middleware


def _remember_who_signs_out(request: HttpRequest, view: Any, args: Any, kwargs: Any) -> None:
    """Note the name before the view forgets it."""
    match = request.resolver_match
    if match is not None and match.view_name in ("admin:logout", "account_logout"):
        request.META[SIGNED_OUT] = request.user.get_username()


def _get_actor(request: HttpRequest) -> str:
    user = getattr(request, "user", None)  # an error may come before the session is read
    name = user.get_username() if user is not None else ""
    return request.META.get(SIGNED_OUT) or name or "anonymous"


def _record_answer(
    request: HttpRequest, response: HttpResponseBase, answered: Answered, kind: str
) -> None:
    body = _read_body(request, response) if kind != "refused" else {}
    reason, named = body.get("reason", ""), body.get("run_id") or body.get("branch")
    what = answered.view.removeprefix("admin:") or answered.path
    record_request(
        request,
        kind,
        actor=_get_actor(request),
        target=" ".join(filter(None, (name_object(answered), str(named or "")))),
        reason=reason if isinstance(reason, str) else "",
        detail=f"{answered.method} {what}: {answered.status}",
    )


def _read_body(request: HttpRequest, response: HttpResponseBase) -> dict[str, Any]:
    """Return the fields of the form, or of the JSON body that Django REST framework has parsed."""
    context = getattr(response, "renderer_context", None)
    try:
        data = context["request"].data if context is not None else request.POST.dict()
    except (APIException, Refused):  # a view that ignores its body
        return {}
    return data if isinstance(data, dict) else {}
