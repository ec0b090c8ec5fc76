"""The header with which the router tells a preview who looks, and the key that signs it.

The value is a JSON Web Token (RFC 7519) with HS256 (RFC 7518, 3.2), which every language has a
library for.
"""

import base64
import hashlib
import hmac
import json

from host.config import Config

HEADER = "X-Oroboros-User"
KEY_VARIABLE = "OROBOROS_USER_KEY"
VALID_SECONDS = 60
JOSE_HEADER = {"alg": "HS256", "typ": "JWT"}


def build_variables(config: Config, run_id: str) -> dict[str, str]:
    """Return the variable with which the run's preview checks the header, where it is set."""
    if not config.get_boolean("PREVIEW_USER_HEADER"):
        return {}
    return {KEY_VARIABLE: derive_key(config.get("SECRET_KEY"), run_id)}


def derive_key(secret_key: str, run_id: str) -> str:
    """Return the key of one run: no other preview can sign for it, nor it for another."""
    text = f"preview-user:{run_id}".encode()
    return hmac.new(secret_key.encode(), text, hashlib.sha256).hexdigest()


def sign_user(user: str, *, host: str, key: str, at: float) -> str:
    """Return the header's value for a visitor of that host name at a Unix time."""
    claims = {"sub": user, "aud": host, "iat": int(at), "exp": int(at) + VALID_SECONDS}
    parts = ".".join(_encode(json.dumps(one).encode()) for one in (JOSE_HEADER, claims))
    signature = hmac.new(key.encode(), parts.encode(), hashlib.sha256).digest()
    return f"{parts}.{_encode(signature)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
