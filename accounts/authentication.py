"""Authentication of the API: the host's shell by its socket, tokens, and browser sessions."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts import token_throttle
from accounts.audit.recording import record_request
from accounts.models import ApiToken
from accounts.peers import (
    find_client_owner,
    get_client_address,
    get_loopback_endpoints,
    is_from_application,
)
from accounts.reserved_names import HOST_NAME
from accounts.tokens import find_token, name_token, record_use
from web.errors import error_response
from web.permissions import ABILITIES, Principal

# Only proxies and web pages send these headers; a shell on this host does not.
PROXY_OR_PAGE_HEADERS = ("HTTP_ORIGIN", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
# For probes.
PUBLIC_PATHS = ("/health", "/healthz", "/readyz")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


class HostAuthentication(BaseAuthentication):
    """Requests from a shell on this host are the operator "host", by the owner of the socket.

    Only over loopback, and only if the kernel says that the client's socket belongs to root or to
    this service's user. Requests with a token or a session are authenticated by that instead.
    """

    def authenticate(self, request: Request) -> tuple[Principal, None] | None:
        meta = request.META
        if "HTTP_AUTHORIZATION" in meta or settings.SESSION_COOKIE_NAME in request.COOKIES:
            return None
        connection = meta.get("gunicorn.socket")
        if connection is None or _is_from_proxy_or_page(meta):
            return None
        endpoints = get_loopback_endpoints(connection)
        # A page may have its own name resolve to 127.0.0.1; its Host header is still that name.
        if endpoints is None or not _is_own_host_header(meta.get("HTTP_HOST", ""), endpoints[3]):
            return None
        uid = find_client_owner(meta)
        if uid is None:  # already closed, or unknown to the kernel
            return None
        if uid not in (0, os.geteuid()):
            raise PermissionDenied("This operating system user needs a token to use the API.")
        return Principal(HOST_NAME, frozenset(ABILITIES)), None

    def authenticate_header(self, request: Request) -> str:
        # Without it DRF would answer 403 instead of 401.
        return 'Bearer realm="oroboros"'


def _is_from_proxy_or_page(meta: Mapping[str, Any]) -> bool:
    return (
        any(name in meta for name in PROXY_OR_PAGE_HEADERS)
        or any(name.startswith("HTTP_X_FORWARDED") for name in meta)
        # Browsers send `none` for an address that a person typed.
        or meta.get("HTTP_SEC_FETCH_SITE", "none") != "none"
    )


def _is_own_host_header(host: str, port: int) -> bool:
    return host.lower() in {f"{name}:{port}" for name in LOOPBACK_NAMES}


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer oro_…`: a token with its own abilities, limits and rate."""

    def authenticate(self, request: Request) -> tuple[Principal, ApiToken] | None:
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        address = get_client_address(request.META)
        token_throttle.count_address(address)
        token = find_token(secret.strip())
        if token is None:
            token_throttle.count_bad_token(address)
            record_request(
                request._request, "refused", actor="anonymous", target=name_token(secret.strip()),
                detail="a token that is not valid",
            )  # fmt: skip
            raise AuthenticationFailed("This token is unknown, revoked or expired.")
        token_throttle.count_token(token.pk)
        if record_use(token, address):
            kind = "token_new_address"
            record_request(request._request, kind, actor=token.actor, target=token.name)
        abilities = token.get_current_abilities()
        return Principal(token.actor, abilities, token.limits), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


class BrowserAuthentication(SessionAuthentication):
    """The session of the admin, with Django's CSRF check."""

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def refuse_applications(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: applications may use the API with a token, and nothing else.

    Browsers send cookies to every port of a host name, so a backend on this host can receive a
    person's session cookie: it must not be able to use it here. Nor is it asked to log in, or it
    could lock people out by wrong passwords. `path_info` is what the URLs are resolved by.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path_info in PUBLIC_PATHS or not is_from_application(request.META):
            return get_response(request)
        request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        if request.path_info.startswith("/api/") and "HTTP_AUTHORIZATION" in request.META:
            return get_response(request)
        return error_response(request, 403, "Applications need a token to use the API.")

    return middleware
