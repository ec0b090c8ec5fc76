"""Authentication of the API: the host's shell by its socket, tokens, and browser sessions."""

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts.models import ApiToken
from accounts.reserved_names import HOST_NAME
from accounts.tokens import hash_token
from core.clock import ClockTimestamp
from host.process import socket_owner
from web.permissions import ABILITIES, Principal

# Only proxies and web pages send these headers; a shell on this host does not.
PROXY_OR_PAGE_HEADERS = ("HTTP_ORIGIN", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
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
        uid = socket_owner.find_owner(*endpoints)
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


def get_loopback_endpoints(connection: socket.socket) -> tuple[str, int, str, int] | None:
    """Return the client's and the server's address and port; None if either is not loopback."""
    try:
        client, server = connection.getpeername(), connection.getsockname()
    except OSError:  # the client closed the connection
        return None
    for end in (client, server):
        if not isinstance(end, tuple) or not ipaddress.ip_address(end[0]).is_loopback:
            return None
    return client[0], client[1], server[0], server[1]


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer oro_…`: a token with its own abilities."""

    def authenticate(self, request: Request) -> tuple[Principal, ApiToken] | None:
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        valid_tokens = ApiToken.objects.valid().select_related("owner")
        token = valid_tokens.filter(digest=hash_token(secret.strip())).first()
        if token is None:
            raise AuthenticationFailed("This token is unknown, revoked or expired.")
        _record_use(token)
        return Principal(f"token {token.name}", token.get_current_abilities()), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def _record_use(token: ApiToken) -> None:
    """Record the use, at most once a minute. The host's clock decides only whether to write."""
    a_minute_ago = timezone.now() - timedelta(minutes=1)
    if token.last_used_at is None or token.last_used_at < a_minute_ago:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=ClockTimestamp())


class BrowserAuthentication(SessionAuthentication):
    """The session of the admin, with Django's CSRF check."""

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def ignore_application_sessions(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: ignore the session cookie in requests from an application's process.

    Browsers send cookies to every port of a host name, so a backend on this host can receive a
    person's session cookie. It must not be able to use it here. Applications are recognized by
    their operating system user; they have users of their own only as root or under systemd.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and _is_from_application(request.META):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        return get_response(request)

    return middleware


def _is_from_application(meta: Mapping[str, Any]) -> bool:
    """Return whether an application sent the request; True if the socket is closed already."""
    connection, config = meta.get("gunicorn.socket"), settings.OROBOROS
    uids = {user.uid for user in config.application_users}
    if connection is None or not uids or not ipaddress.ip_address(meta["REMOTE_ADDR"]).is_loopback:
        return False
    endpoints = get_loopback_endpoints(connection)
    owner = socket_owner.find_owner(*endpoints) if endpoints is not None else None
    # Unknown counts as an application: one could send a stolen cookie and close its socket before
    # the kernel is queried.
    return owner is None or owner in uids
