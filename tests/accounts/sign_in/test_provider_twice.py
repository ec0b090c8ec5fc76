"""Several sign-ins through the provider: what is kept between them, and two of them at once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection

from accounts.sign_in.documents import build_name
from accounts.user_forms import get_role
from tests.accounts.sign_in.conftest import Browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def requested(monkeypatch):
    """The paths that are requested of the provider."""
    paths, good = [], requests.Session.get

    def get(session, url, **options):
        paths.append(urlsplit(url).path)
        return good(session, url, **options)

    monkeypatch.setattr(requests.Session, "get", get)
    return paths


def test_documents_of_the_provider_are_kept_and_new_keys_are_requested(
    provider, browser, requested, settings
):
    provider.set_person("rita", ["staff"])
    for one in (browser, Browser()):
        one.sign_in("rita")
        assert one.person == "rita"
    assert [path for path in requested if path != "/userinfo"] == [
        "/.well-known/openid-configuration",
        "/jwks",
    ]
    requested.clear()
    cache.set(build_name("keys", f"{provider.url}/jwks"), {"keys": []})
    other = Browser()
    other.sign_in("rita")
    assert (other.person, requested.count("/jwks")) == ("rita", 1)
    # What another issuer says is not known from this one.
    other = replace(settings.SIGN_IN.provider, issuer=f"{provider.url}/")
    settings.SIGN_IN = replace(settings.SIGN_IN, provider=other)
    assert browser.post("/admin/account/sign-in/").status_code == 503


@pytest.mark.django_db(transaction=True)
def test_of_two_sign_ins_at_once_the_role_of_either_holds_for_both(provider, browser, monkeypatch):
    provider.set_person("rita", ["ops"])
    browser.sign_in("rita")
    good, barrier = requests.Session.get, threading.Barrier(2)
    first_has_claims = threading.Event()

    def get(session, url, **options):
        response = good(session, url, **options)
        if url.endswith("/userinfo"):
            first_has_claims.set()
            barrier.wait(timeout=60)
        return response

    browsers = [Browser(), Browser()]
    urls = [one.confirm(one.begin(), "rita") for one in browsers]
    monkeypatch.setattr(requests.Session, "get", get)

    def finish(number):
        try:
            return browsers[number].get(urls[number]).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(finish, 0)
        assert first_has_claims.wait(60)
        provider.set_person("rita", [])  # after the first has read its groups
        second = threads.submit(finish, 1)
        assert (first.result(), second.result()) == (302, 403)
    monkeypatch.setattr(requests.Session, "get", good)
    rita = User.objects.get(username="rita")
    role = get_role(rita)
    assert (role in ("", "operator"), rita.is_staff) == (True, bool(role))
    for one in (browser, *browsers):
        is_let_in = one.get("/api/audit").status_code == 200
        assert not is_let_in or role == "operator"
    assert Browser().sign_in("rita").status_code == 403
    rita.refresh_from_db()
    assert (get_role(rita), rita.is_staff) == ("", False)
    assert {one.get("/api/audit").status_code for one in (browser, *browsers)} <= {401, 403}
