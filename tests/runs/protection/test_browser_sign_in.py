"""From a protected preview to the OpenID Connect provider, the second factor, and back."""

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.models import User
from playwright.sync_api import expect

from tests.accounts.sign_in.conftest import ProviderPeople, provider_url
from tests.accounts.sign_in.test_second_factor import SECRET, make_code
from tests.runs.protection.stack import running_stack

__all__ = ["provider_url"]
pytestmark = [pytest.mark.browser, pytest.mark.full, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def protected(open_path, provider_url):
    secret = open_path / "secret"
    secret.write_text("the-clients-secret\n")
    secret.chmod(0o600)
    values = {
        "PREVIEW_PROTECTION": "protected",
        "OIDC_ISSUER": provider_url,
        "OIDC_NAME": "Example SSO",
        "OIDC_CLIENT_ID": "oroboros",
        "OIDC_CLIENT_SECRET_FILE": str(secret),
        "OIDC_VIEWER_GROUPS": "staff",
        "SECOND_FACTOR": "everyone",
    }
    with running_stack(open_path, **values) as stack:
        yield stack


def go_through_provider(page, sub):
    page.get_by_role("button", name="Log in with Example SSO").click()
    page.fill("[name=sub]", sub)
    page.get_by_role("button", name="Authorize").click()


def test_a_stranger_goes_through_provider_and_factor_to_the_page_asked_for(
    protected,
    chromium,
    provider_url,
):
    ProviderPeople(provider_url).set_person("rita", ["staff"])
    first, second = chromium.new_context(), chromium.new_context()
    page = first.new_page()
    page.goto(f"{protected.url}/page?x=1")
    go_through_provider(page, "rita")
    # Her first log-in: a factor is required, and she has none yet.
    page.wait_for_url(f"http://api.localhost:{protected.port}/admin/account/**")
    assert protected.backend.requests == []
    totp.TOTP.activate(User.objects.get(username="rita"), SECRET)
    page = second.new_page()
    page.goto(f"{protected.url}/page?x=1")
    assert page.url.startswith(f"http://api.localhost:{protected.port}/admin/login/")
    go_through_provider(page, "rita")
    page.wait_for_url("**/admin/account/factor/**")
    assert protected.backend.requests == []
    page.fill("[name=code]", make_code())
    page.keyboard.press("Enter")
    page.wait_for_url(f"{protected.url}/page?x=1")
    expect(page.locator("body")).to_contain_text('"path": "/page?x=1"')
    for one in protected.backend.requests:
        assert "oroboros_" not in str(one) and "x-oroboros-" not in str(one)
    first.close()
    second.close()
