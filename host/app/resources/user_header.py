"""The header with which the router tells a preview who looks, and the key that signs it."""

import hashlib
import hmac

from host.config import Config

HEADER = "X-Oroboros-User"
KEY_VARIABLE = "OROBOROS_USER_KEY"


def build_variables(config: Config, run_id: str) -> dict[str, str]:
    """Return the variable with which the run's preview checks the header, where it is set."""
    if not config.get_boolean("PREVIEW_USER_HEADER"):
        return {}
    return {KEY_VARIABLE: derive_key(config.get("SECRET_KEY"), run_id)}


def derive_key(secret_key: str, run_id: str) -> str:
    """Return the key of one run: no other preview can sign for it, nor it for another."""
    text = f"preview-user:{run_id}".encode()
    return hmac.new(secret_key.encode(), text, hashlib.sha256).hexdigest()
