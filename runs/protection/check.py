"""The router's question about each request for a protected preview, and its answer.

2xx lets the request through to the preview. Every other answer is the visitor's: a redirect to the
log-in, a page that says why not, or a redirect to the address without our parameter, with a cookie.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.http import MAX_URL_LENGTH, urlencode

from accounts.peers import get_client_address
from accounts.session_cookies import find_cookie
from host.app.resources import user_header
from runs.protection import access, rules
from runs.protection.access import PREFIX, VISIT_COOKIE, Admission, PreviewHost
from runs.protection.refusals import refuse
from runs.protection.rules import AccessAnswer, PreviewRequest
from runs.protection.share_links import open_link
from runs.protection.visits import VISIT_HOURS, begin_visit, hash_secret

# The router alone requests it: it sends no other client's request here (infra/caddy/Caddyfile).
CHECK_PATH = "/internal/preview-access"
NONCE_COOKIE = f"{PREFIX}oroboros_entry"
NONCE_SECONDS = 600
USER_SECONDS = 60  # how long the header of one request names the person
TEXT_FOR_PROGRAMS = "Programs send a token in the header X-Oroboros-Bypass."
ORIGINS = settings.CORS_ALLOWED_ORIGIN_REGEXES[0]


def answer_checks(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: answer the router's question. First of all, since every asset waits for it."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info != CHECK_PATH:
            return get_response(request)
        asked = read_request(request.META)
        response = check(asked, lambda: get_client_address(request.META))
        response.headers["Cache-Control"] = "no-store"
        if asked.origin and rules.is_allowed_origin(asked.origin, ORIGINS):
            # So that the page that sent the request can read the refusal.
            response.headers["Access-Control-Allow-Origin"] = asked.origin
            response.headers["Vary"] = "Origin"
        return response

    return middleware


def read_request(meta: Mapping[str, Any]) -> PreviewRequest:
    """Return the visitor's request, as the router describes it."""

    def header(name: str) -> str:
        return meta.get(f"HTTP_{name}", "")

    return PreviewRequest(
        host=header("X_OROBOROS_HOST"),
        slot=header("X_OROBOROS_SLOT"),
        method=header("X_FORWARDED_METHOD"),
        uri=header("X_FORWARDED_URI"),
        cookies=header("COOKIE"),
        bypass=header("X_OROBOROS_BYPASS"),
        accept=header("ACCEPT"),
        fetch_mode=header("SEC_FETCH_MODE"),
        origin=header("ORIGIN"),
        preflight_method=header("ACCESS_CONTROL_REQUEST_METHOD"),
        is_worker=bool(header("SERVICE_WORKER")),
        agent=header("USER_AGENT"),
    )


def check(request: PreviewRequest, get_address: Callable[[], str]) -> HttpResponse:
    """Return 204 for a request with access, else the visitor's answer.

    `get_address` returns the visitor's address, which the use of a token is recorded with.
    """
    host = rules.parse_host(request.host, settings.DOMAIN)
    if host is None:
        return refuse(request, 404, "No preview has this host name.")
    if rules.is_preflight(request, ORIGINS):
        return HttpResponse(status=204)
    preview_host = access.find_preview_host(host, request.slot)
    name, secret, address = rules.split_parameter(request.uri)
    if name:
        if request.method != "GET":
            return refuse(request, 401, f"{name} opens a page (GET). {TEXT_FOR_PROGRAMS}")
        opened = OPENERS[name](request, preview_host, secret, get_address)
        return _redirect_opened(request, preview_host, name, opened, address)
    if request.bypass:
        if (
            access.find_bypass(request.bypass, preview_host, get_address(), request.agent)
            is not None
        ):
            return HttpResponse(status=204)
        return refuse(request, 401, "The token in X-Oroboros-Bypass shows no preview here.")
    admission = access.find_admission(request.cookies, preview_host)
    if admission is not None:
        return _admit(admission, request)
    if rules.choose_answer(request) is AccessAnswer.LOGIN:
        return _send_to_login(request, preview_host)
    return refuse(request, 401)


def _admit(admission: Admission, request: PreviewRequest) -> HttpResponse:
    """Let the request through; with PREVIEW_USER_HEADER tell the preview which person looks."""
    response = HttpResponse(status=204)
    config = settings.OROBOROS
    if admission.run_id and config.get_boolean("PREVIEW_USER_HEADER"):
        key = user_header.derive_key(settings.SECRET_KEY, admission.run_id)
        host = request.host.partition(":")[0].lower()
        value = sign_user(admission.user, host=host, key=key, at=time.time())
        response.headers[user_header.HEADER] = value
    return response


def sign_user(user: str, *, host: str, key: str, at: float) -> str:
    """Return a JSON Web Token (RFC 7519) of a visitor of that host name at a Unix time."""
    claims = {"sub": user, "aud": host, "iat": int(at), "exp": int(at) + USER_SECONDS}
    return jwt.encode(claims, key, algorithm="HS256")


# A kind of cookie, the key of what admits, and the seconds for which the browser keeps the cookie.
Opened = tuple[str, str, int]


def _open_by_ticket(
    request: PreviewRequest, preview_host: PreviewHost, secret: str, get_address: Callable[[], str]
) -> Opened | None:
    nonce = find_cookie(request.cookies, NONCE_COOKIE) or ""
    visit = begin_visit(secret, nonce, preview_host.host, preview_host.find_run())
    return None if visit is None else ("visit", str(visit), VISIT_HOURS * 3600)


def _open_by_link(
    request: PreviewRequest, preview_host: PreviewHost, secret: str, get_address: Callable[[], str]
) -> Opened | None:
    opened = open_link(secret, preview_host.find_run())
    return None if opened is None else ("share", str(opened[0]), opened[1])


def _open_by_token(
    request: PreviewRequest, preview_host: PreviewHost, secret: str, get_address: Callable[[], str]
) -> Opened | None:
    token = access.find_bypass(secret, preview_host, get_address(), request.agent)
    return None if token is None else ("token", token, VISIT_HOURS * 3600)


OPENERS = {
    rules.TICKET: _open_by_ticket,
    rules.SHARE: _open_by_link,
    rules.BYPASS: _open_by_token,
}
REFUSALS = {
    rules.TICKET: "This log-in was for another browser, has been used, or took too long. Open the "
    "preview's link again; its host name must be allowed to set cookies.",
    rules.SHARE: "This share link has expired or was revoked, or its run has no preview here now. "
    "Request a new one from who sent it.",
    rules.BYPASS: "This token shows no preview here: it is unknown, revoked or expired, or limited "
    "to other runs.",
}


def _redirect_opened(
    request: PreviewRequest,
    preview_host: PreviewHost,
    name: str,
    opened: Opened | None,
    address: str,
) -> HttpResponse:
    """Send the browser to the address without our parameter, with a cookie if it was opened."""
    if opened is None and access.find_admission(request.cookies, preview_host) is None:
        return refuse(request, 403, REFUSALS[name])
    response = HttpResponseRedirect(settings.OROBOROS.preview_origin(preview_host.host) + address)
    if opened is not None:
        kind, key, seconds = opened
        _set_cookie(response, VISIT_COOKIE, access.sign_cookie(kind, key, preview_host), seconds)
    return response


def _send_to_login(request: PreviewRequest, preview_host: PreviewHost) -> HttpResponse:
    nonce = find_cookie(request.cookies, NONCE_COOKIE) or secrets.token_urlsafe(32)
    query = {"host": preview_host.host, "slot": request.slot, "nonce": hash_secret(nonce)}
    control_plane = settings.OROBOROS.admin_url.removesuffix("/admin/")
    response = HttpResponseRedirect(control_plane + _build_entry_path(request.uri, query))
    # The same one for all tabs: each of their tickets is for this browser.
    _set_cookie(response, NONCE_COOKIE, nonce, NONCE_SECONDS)
    return response


def _build_entry_path(uri: str, query: Mapping[str, str]) -> str:
    """Return the address that leads through the log-in to the page, or to the start page."""
    entry = reverse("preview-entry")
    path = f"{entry}?{urlencode({**query, 'to': rules.check_address(uri)})}"
    # The log-in forgets a longer address, and would end in the admin.
    return path if len(path) <= MAX_URL_LENGTH else f"{entry}?{urlencode({**query, 'to': '/'})}"


def _set_cookie(response: HttpResponse, name: str, value: str, seconds: int) -> None:
    """Set a cookie that only this host name gets, and no script."""
    response.set_cookie(
        name, value, max_age=seconds, secure=settings.HTTPS, httponly=True, samesite="Lax"
    )
