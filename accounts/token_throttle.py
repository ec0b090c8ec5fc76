"""How many requests with a token the API answers, by the token and by the client's address.

Each process of the API counts its own requests of the last minute. Sessions of people and the
host's shell are not counted.
"""

from typing import Any

from django.conf import settings
from rest_framework.exceptions import Throttled
from rest_framework.throttling import SimpleRateThrottle

BAD_TOKENS_PER_MINUTE = 60


class MinuteThrottle(SimpleRateThrottle):
    """Counts the requests of one key in the last minute; no limit if that is 0."""

    def __init__(self, key: str, limit: int) -> None:
        self.own_key = key
        self.rate = f"{limit}/min"
        super().__init__()
        if not limit:
            self.rate = None

    def get_cache_key(self, request: Any, view: Any) -> str:
        return self.own_key


def count_address(address: str) -> None:
    """Count a request with any token from the address. Raises Throttled."""
    limit = settings.API_REQUESTS_PER_ADDRESS
    _count(f"address:{address}", limit, "Too many requests with tokens from this address.")


def count_token(number: int) -> None:
    """Count a request with the token of that primary key. Raises Throttled."""
    _count(f"token:{number}", settings.API_REQUESTS_PER_TOKEN, "Too many requests with this token.")


def count_bad_token(address: str) -> None:
    """Count a request with an unknown, revoked or expired token. Raises Throttled.

    Requests with a valid token from the same address go on: a team may share one, and a token
    cannot be guessed.
    """
    detail = "Too many requests with an unknown token."
    _count(f"bad-token:{address}", BAD_TOKENS_PER_MINUTE, detail)


def _count(key: str, limit: int, detail: str) -> None:
    throttle = MinuteThrottle(key, limit)
    # Neither the request nor the view decides about the key.
    if not throttle.allow_request(None, None):  # type: ignore[arg-type]
        raise Throttled(throttle.wait(), detail)
