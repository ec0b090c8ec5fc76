"""The signature after Standard Webhooks, and what the answers mean."""

import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from notifications.channels.webhook import build_headers, make_secret, read_answer, read_key


def test_the_reference_library_verifies_the_signature():
    secret, at = make_secret(), int(time.time())
    message = {"id": "msg_1", "secret": secret, "body": json.dumps({"type": "run.ready", "ü": 1})}
    headers = build_headers(message, at)
    assert Webhook(secret).verify(message["body"], headers) == {"type": "run.ready", "ü": 1}
    for wrong in ({"webhook-id": "msg_2"}, {"webhook-timestamp": str(at - 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(message["body"], {**headers, **wrong})
    with pytest.raises(WebhookVerificationError):
        Webhook(make_secret()).verify(message["body"], headers)


def test_a_secret_has_24_to_64_bytes():
    assert len(read_key(make_secret()) or b"") == 32
    for wrong in ("", "whsec_", "whsec_dG9vIHNob3J0", "whsec_%%%", "é"):
        assert read_key(wrong) is None


def test_an_answer_says_whether_it_is_tried_again():
    assert read_answer(204, {}, "").is_delivered
    again = read_answer(503, {"Retry-After": "120"}, "busy")
    assert (again.is_delivered, again.is_permanent, again.retry_after) == (False, False, 120.0)
    assert again.text == "503 Service Unavailable: busy"
    moved = read_answer(302, {"Location": "http://127.0.0.1:8000/"}, "")
    assert moved.is_permanent
    assert "Redirects are not followed" in moved.text
    gone = read_answer(410, {}, "")
    assert gone.is_permanent
    assert gone.is_gone
