"""Webhooks after Standard Webhooks (standardwebhooks.com, specification 1.0)."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from notifications.channels.answer import DeliveryAnswer, shorten

SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES, LEAST_BYTES, MOST_BYTES = 32, 24, 64
CONNECT_SECONDS, READ_SECONDS = 5.0, 10.0
ANSWER_BYTES = 2000


def make_secret() -> str:
    """Return a new secret for signatures."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_key(secret: str) -> bytes | None:
    """Return the key that a secret such as `whsec_…` stands for; None if it is none.

    24 to 64 bytes, as the specification has it.
    """
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if LEAST_BYTES <= len(key) <= MOST_BYTES else None


def sign(secret: str, message_id: str, at: int, body: bytes) -> str:
    """Return the value of the header webhook-signature. `at` is in seconds since 1970."""
    key = read_key(secret) or b""
    signed = f"{message_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def build_headers(message: Mapping[str, Any], at: int) -> dict[str, str]:
    """Return the request's headers. The id is the same in each attempt, the time is not."""
    body = message["body"].encode()
    return {
        "Content-Type": "application/json",
        "User-Agent": "oroboros",
        "webhook-id": message["id"],
        "webhook-timestamp": str(at),
        "webhook-signature": sign(message["secret"], message["id"], at, body),
    }


def deliver(message: Mapping[str, Any]) -> DeliveryAnswer:
    """Send the message once. Raises OSError if there is no answer."""
    import requests

    with requests.Session() as session:
        session.trust_env = False  # neither a proxy, nor a password of ~/.netrc
        with session.post(
            message["address"],
            data=message["body"].encode(),
            headers=build_headers(message, int(time.time())),
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            allow_redirects=False,
            stream=True,
        ) as answer:
            text = next(answer.iter_content(ANSWER_BYTES), b"").decode(errors="replace")
            return read_answer(answer.status_code, answer.headers, text)


def read_answer(status: int, headers: Mapping[str, str], text: str) -> DeliveryAnswer:
    """Return what the receiver's answer means. 2xx: it has the message. 410: it wants no more."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    said = shorten(f"{status} {phrase}: {text}" if text.strip() else f"{status} {phrase}")
    if 300 <= status < 400:
        said = f"{said} Redirects are not followed: correct the address."
    wait = headers.get("Retry-After", "")
    return DeliveryAnswer(
        said,
        is_delivered=200 <= status < 300,
        is_permanent=300 <= status < 400 or status == HTTPStatus.GONE,
        is_gone=status == HTTPStatus.GONE,
        retry_after=float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 9 else None,
    )
