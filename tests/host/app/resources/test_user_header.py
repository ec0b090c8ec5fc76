"""The signed name of who looks at a preview."""

import base64
import hashlib
import hmac
import json

from host import config as configuration
from host.app import environment
from host.app.resources import user_header

RUN = "11111111-2222-3333-4444-555555555555"
SETTINGS = {"SECRET_KEY": "s" * 40}


def decode(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(value, key):
    """Return the claims as an application reads them; None if the signature is not the key's."""
    head, claims, signature = value.split(".")
    expected = hmac.new(key.encode(), f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert json.loads(decode(head)) == {"alg": "HS256", "typ": "JWT"}
    is_valid = hmac.compare_digest(decode(signature), expected)
    return json.loads(decode(claims)) if is_valid else None


def test_the_key_of_a_run_verifies_the_header_and_no_other_key_does():
    key = user_header.derive_key(SETTINGS["SECRET_KEY"], RUN)
    value = user_header.sign_user("véra", host="one.preview.oro.test", key=key, at=1000.7)
    assert value.isascii()
    assert verify(value, key) == {
        "sub": "véra",
        "aud": "one.preview.oro.test",
        "iat": 1000,
        "exp": 1060,
    }
    for other in (
        user_header.derive_key(SETTINGS["SECRET_KEY"], RUN.replace("1", "2")),
        user_header.derive_key("t" * 40, RUN),
    ):
        assert verify(value, other) is None


def test_only_with_the_setting_a_preview_has_the_key_and_no_build_has_it():
    off = configuration.load(SETTINGS)
    assert user_header.build_variables(off, RUN) == {}
    on = configuration.load({**SETTINGS, "PREVIEW_USER_HEADER": "true"})
    variables = user_header.build_variables(on, RUN)
    assert variables == {"OROBOROS_USER_KEY": user_header.derive_key("s" * 40, RUN)}
    assert "OROBOROS_USER_KEY" not in environment.select_build_variables(on, variables)
