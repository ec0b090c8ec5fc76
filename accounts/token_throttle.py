"""The limit for requests with an unknown token, by the client's address."""

from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle

from accounts.login_throttle import get_client_address


class BadTokenThrottle(SimpleRateThrottle):
    """Counts requests with unknown, revoked or expired tokens; only such requests are refused.

    Each process of the API counts its own. Requests with a valid token from the same address go
    on: a team may share one, and a token cannot be guessed.
    """

    rate = "60/min"

    def get_cache_key(self, request: Request, view: Any) -> str:
        return f"bad-token:{get_client_address(request.META)}"
