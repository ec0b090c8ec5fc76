"""What the router asks: whether a name may have a certificate, and what a name without a slot says.

GET /internal/certificate?domain=<name>, and GET /internal/preview with the visitor's host name in a
header. The router sends no client's request to /internal (infra/caddy/routes.caddy).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_GET

from accounts.peers import is_from_own_proxy
from runs.addresses import certificates, rules
from runs.addresses.known_labels import KnownLabels
from runs.addresses.rules import Explanation
from runs.leasing.queue_status import get_positions
from runs.models import Run
from runs.protection.rules import check_address
from runs.rules import Status

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
known_labels = KnownLabels()


@dataclass(frozen=True)
class NamedPullRequest:
    """A pull request's run, None without one, and why it has none."""

    run: Run | None
    reason: str


# Given by the URL configuration: pull requests are of an app above this one.
FindPullRequest = Callable[[int], NamedPullRequest | None]


@require_GET
def check_certificate(request: HttpRequest, find_pull_request: FindPullRequest) -> HttpResponse:
    """Answer 200 if the name is one of ours, else 404: then the router requests no certificate."""
    name = request.GET.get("domain", "")
    is_known = partial(_is_known, find_pull_request=find_pull_request)
    if not is_from_own_proxy(request.META) or not certificates.may_request(name, is_known):
        return JsonResponse({"error": "unknown_name", "detail": "No such name here."}, status=404)
    return JsonResponse({"status": "ok"})


def _is_known(label: str, at: datetime, *, find_pull_request: FindPullRequest) -> bool:
    """Return whether a run with a preview has the label, or a pull request with a run.

    Anyone may open pull requests, and a queue may be long: what has neither is no name yet.
    """
    if known_labels.has_had_slot(label):
        return True
    number = rules.find_number(label)
    named = find_pull_request(number) if number is not None else None
    return named is not None and named.run is not None and rules.is_recent(named.run.ended_at, at)


@require_GET
def show_preview_name(request: HttpRequest, find_pull_request: FindPullRequest) -> HttpResponse:
    """Say what happened to the run of a name that no slot has; lead from a pull request's to it."""
    host = request.headers.get("X-Oroboros-Host", "")
    label = rules.find_label(host, settings.DOMAIN)
    if label is None or not is_from_own_proxy(request.META):
        return HttpResponse("Not found.\n", status=404, content_type="text/plain")
    run, number = known_labels.find_run(label), rules.find_number(label)
    if run is not None:
        return _explain_run(label, run)
    named = find_pull_request(number) if number is not None else None
    if named is None:
        detail = "No run of the last 30 days has this name. The link may be misspelled."
        return _render(label, Explanation(404, detail))
    if named.run is None:
        detail = f"The pull request has no preview. {named.reason}".strip()
        return _render(label, Explanation(404, detail))
    # A name that had no slot yet has no certificate: it would lead nowhere.
    if named.run.is_final or not known_labels.has_had_slot(named.run.label):
        return _explain_run(label, named.run)
    address = check_address(request.headers.get("X-Forwarded-Uri", ""))
    scheme = "https" if settings.HTTPS else "http"
    own_host = host.lower().replace(label, named.run.label, 1)
    return HttpResponseRedirect(f"{scheme}://{own_host}{address}")


def _explain_run(label: str, run: Run) -> HttpResponse:
    position = get_positions([run.pk]).get(run.pk)
    said = rules.explain(Status(run.status), failure_code=run.failure_code, position=position)
    return _render(label, said, _find_page(run))


def _find_page(run: Run) -> str:
    path = reverse("admin:runs_run_change", args=[run.pk])
    return settings.OROBOROS.admin_url.removesuffix("/admin/") + path


def _render(label: str, said: Explanation, run_url: str = "") -> HttpResponse:
    context = {"label": label, "said": said, "run_url": run_url}
    page = render_to_string("oroboros/preview_absent.html", context)
    response = HttpResponse(page, status=said.status)
    response.headers["Content-Security-Policy"] = POLICY
    if said.is_waiting:
        response.headers["Retry-After"] = response.headers["Refresh"] = str(rules.REFRESH_SECONDS)
    return response
