"""A real OpenID Connect provider on loopback, and browsers that go through it."""

import re
from dataclasses import dataclass
from html import unescape
from urllib.parse import parse_qs, urlsplit

import oidc_provider_mock
import pytest
import requests
from django.core.cache import cache
from django.test import Client

from accounts.sign_in.options import Provider, SignIn
from tests.factories import UserFactory

GROUPS = {"staff": "viewer", "reviewers": "approver", "ops": "operator"}


@pytest.fixture(autouse=True)
def empty_cache():
    """Let no test count with the refusals of another: a minute has a limited number of entries."""
    cache.clear()


@pytest.fixture(scope="session")
def provider_url():
    with oidc_provider_mock.run_server_in_thread(require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def provider(provider_url, settings, tmp_path):
    """Let people log in through the provider."""
    secret = tmp_path / "secret"
    secret.write_text("the-clients-secret\n")
    settings.SIGN_IN = SignIn(
        provider=Provider(
            issuer=provider_url,
            name="Example SSO",
            client_id="oroboros",
            secret_file=secret,
            scopes=("openid", "profile", "email"),
            groups_claim="groups",
            name_claim="preferred_username",
            groups=GROUPS,
            session_hours=12,
        ),
        has_passwords=True,
        second_factor="optional",
    )
    return ProviderPeople(provider_url)


@dataclass
class ProviderPeople:
    """What the provider says of people."""

    url: str

    def set_person(self, sub, groups=(), *, is_verified=True, **claims):
        body = {
            "preferred_username": sub,
            "email": f"{sub}@example.org",
            "email_verified": is_verified,
            "groups": list(groups),
            **claims,
        }
        assert requests.put(f"{self.url}/users/{sub}", json=body, timeout=60).status_code == 204


class Browser(Client):
    """A browser that can log in through the provider."""

    def begin(self, **fields):
        """Press the button of the log-in; return the provider's address."""
        page = self.post("/admin/account/sign-in/", fields)
        assert page.status_code == 200, page.content
        return unescape(re.search(r'url=([^"]+)"', page.content.decode())[1])

    def confirm(self, url, sub):
        """Log in at the provider; return the address that it sends the browser back to."""
        answer = requests.post(url, data={"sub": sub}, allow_redirects=False, timeout=60)
        assert answer.status_code == 302, answer.text
        parts = urlsplit(answer.headers["Location"])
        return f"{parts.path}?{parts.query}"

    def sign_in(self, sub, **fields):
        """Log in through the provider; return the answer to the browser that comes back."""
        return self.get(self.confirm(self.begin(**fields), sub))

    @property
    def person(self):
        """The name of who is logged in; "" without one."""
        answer = self.get("/api/me", headers={"accept": "application/json"})
        return answer.json()["name"] if answer.status_code == 200 else ""


@pytest.fixture
def browser():
    return Browser()


def read_query(url):
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


PASSWORD = "the-right-one-of-olga"


@pytest.fixture
def olga(db, settings):
    """An operator with a password."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    user = UserFactory(username="olga", groups=["operator"])
    user.set_password(PASSWORD)
    user.save()
    return user


def log_in(browser, password=PASSWORD, name="olga", **query):
    return browser.post(
        "/admin/login/", {"username": name, "password": password}, query_params=query
    )
