"""Authentication: the host's shell by its socket, tokens, and browser sessions."""

import ipaddress
import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from accounts.models import ApiToken
from accounts.tokens import digest
from core.clock import ClockTimestamp
from host.process import socket_owner
from web.permissions import ABILITIES, Principal

if TYPE_CHECKING:  # DRF's views import their settings, and those import this module
    pass

# What only a proxy or a page of another origin sends: neither is the shell on this host.
FOREIGN_HEADERS = ("HTTP_ORIGIN", "HTTP_FORWARDED", "HTTP_X_REAL_IP", "HTTP_VIA")
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


class HostAuthentication(BaseAuthentication):
    """The shell on this host is the operator "host", known by the owner of its socket.

    Only over loopback, and only if the kernel's entry for the connection says that it is root's
    or this service's own. Whoever shows a token or a session is asked for that instead.
    """

    def authenticate(self, request: Request) -> tuple[Principal, None] | None:
        meta = request.META
        if "HTTP_AUTHORIZATION" in meta or settings.SESSION_COOKIE_NAME in request.COOKIES:
            return None
        connection = meta.get("gunicorn.socket")
        if connection is None or _is_foreign(meta):
            return None
        ends = loopback_ends(connection)
        if ends is None or not _names_us(meta.get("HTTP_HOST", ""), ends[3]):
            return None
        uid = socket_owner.owner(*ends)
        if uid is None:  # closed already, or not seen by the kernel: nobody
            return None
        if uid not in (0, os.geteuid()):
            raise PermissionDenied("This user of the host may not use the API without a token.")
        return Principal("host", frozenset(ABILITIES)), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def _is_foreign(meta: Mapping[str, Any]) -> bool:
    return (
        any(name in meta for name in FOREIGN_HEADERS)
        or any(name.startswith("HTTP_X_FORWARDED") for name in meta)
        or meta.get("HTTP_SEC_FETCH_SITE", "none") != "none"
    )


def _names_us(host: str, port: int) -> bool:
    return host.lower() in {f"{name}:{port}" for name in LOOPBACK_NAMES}


def loopback_ends(connection: socket.socket) -> tuple[str, int, str, int] | None:
    """Return the client's and the server's address and port; None if either is not loopback."""
    try:
        client, server = connection.getpeername(), connection.getsockname()
    except OSError:  # the client has gone
        return None
    for end in (client, server):
        if not isinstance(end, tuple) or not ipaddress.ip_address(end[0]).is_loopback:
            return None
    return client[0], client[1], server[0], server[1]


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer oro_…`: a token with the abilities it was made for."""

    def authenticate(self, request: Request) -> tuple[Principal, ApiToken] | None:
        scheme, _, secret = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = ApiToken.objects.filter(digest=digest(secret.strip()), revoked_at=None).first()
        if token is None:
            raise AuthenticationFailed("This token is unknown or revoked.")
        _note_use(token)
        return Principal(f"token {token.name}", frozenset(token.abilities)), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def _note_use(token: ApiToken) -> None:
    """Note it to the minute; the host's clock only decides whether an UPDATE is spared."""
    recently = timezone.now() - timedelta(minutes=1)
    if token.last_used_at is None or token.last_used_at < recently:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=ClockTimestamp())


class BrowserAuthentication(SessionAuthentication):
    """Django's session of the admin, with its protection against forged requests."""

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="oroboros"'


def sessions_of_people(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: the session that an application's process shows is nobody's.

    Cookies ignore ports: who follows a link to a backend's own port on our host name sends it
    ours. It can neither use it here nor reach us from elsewhere. Without users of their own
    (root or systemd) such processes cannot be told from ours; the set-up says that.
    """

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and _is_applications(request.META):
            del request.COOKIES[settings.SESSION_COOKIE_NAME]
        return get_response(request)

    return middleware


def _is_applications(meta: Mapping[str, Any]) -> bool:
    """Say whether it is one's, or may be: who has gone already cannot be asked any more."""
    connection, config = meta.get("gunicorn.socket"), settings.OROBOROS
    users = [config.job_user, config.app_user, *map(config.slot_user, config.slots)]
    uids = {user.uid for user in users if user is not None}
    if connection is None or not uids or not ipaddress.ip_address(meta["REMOTE_ADDR"]).is_loopback:
        return False
    ends = loopback_ends(connection)
    return (socket_owner.owner(*ends) if ends is not None else None) in {*uids, None}
