"""The Content-Security-Policy of every answer."""

import pytest
from django.test import Client

pytestmark = pytest.mark.urls("tests.web.views")


def test_every_response_has_a_content_security_policy():
    for address in ("/api/echo", "/nowhere"):
        policy = Client().get(address)["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
