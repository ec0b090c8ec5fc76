"""What the doctor says of the sign-in and its provider."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import oidc_provider_mock
import pytest

from accounts.sign_in.options import read_options
from host import config as configuration
from host.errors import Refused
from ops.doctor.sign_in_checks import check_sign_in, find_problem

ISSUER = "https://sso.test"


def load(**values):
    return configuration.load({"OIDC_CLIENT_ID": "us", **values})


def check(**values):
    return {one.subject: (one.is_ok, one.observed) for one in check_sign_in(load(**values))}


def test_a_provider_that_answers_is_right_and_any_other_is_named(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o600)
    given = {"OIDC_CLIENT_SECRET_FILE": str(secret), "OIDC_VIEWER_GROUPS": "staff"}
    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        found = check(OIDC_ISSUER=issuer, **given)
        assert found["sign-in provider"] == (True, f"{issuer} answers")
        assert all(is_ok for is_ok, _ in found.values())
        is_ok, observed = check(OIDC_ISSUER=f"{issuer}/", **given)["sign-in provider"]
        assert (is_ok, "it calls itself" in observed) == (False, True)
    is_ok, observed = check(OIDC_ISSUER=issuer, **given)["sign-in provider"]
    assert (is_ok, "openid-configuration" in observed) == (False, True)
    secret.unlink()
    assert not check(OIDC_ISSUER=issuer, **given)["sign-in provider"][0]


def test_without_a_provider_the_passwords_are_named_and_without_groups_the_setting():
    assert check() == {"sign-in": (True, "passwords; second factor: optional")}
    found = check(OIDC_ISSUER="https://localhost:1")
    assert found["sign-in"] == (False, "no group of the provider has a role")


def test_a_wrong_issuer_and_a_wrong_clock_are_problems():
    now = datetime.now(UTC)
    document = {"issuer": ISSUER}
    assert find_problem(document, format_datetime(now, usegmt=True), ISSUER) == ""
    assert find_problem(document, "", ISSUER) == ""
    late = format_datetime(now - timedelta(minutes=5), usegmt=True)
    assert "differ by 30" in find_problem(document, late, ISSUER)
    for wrong in ({}, {"issuer": "https://evil.test"}, [], "text"):
        assert "it calls itself" in find_problem(wrong, "", ISSUER)


@pytest.mark.parametrize(
    "values",
    [
        {"OIDC_ISSUER": "http://sso.test"},
        {"OIDC_ISSUER": "sso.test"},
        {"OIDC_ISSUER": "https://sso.test?a=b"},
        {"OIDC_ISSUER": ISSUER, "OIDC_CLIENT_ID": ""},
        {"PASSWORD_SIGN_IN": "false"},
        {"SECOND_FACTOR": "all"},
        {"OIDC_SESSION_HOURS": "0"},
    ],
)
def test_wrong_settings_stop_the_start(values):
    with pytest.raises(Refused, match=r"must be|needs"):
        load(**values)


def test_the_settings_of_the_provider_are_read():
    options = read_options(
        load(
            OIDC_ISSUER=ISSUER,
            PASSWORD_SIGN_IN="false",
            SECOND_FACTOR="operators",
            OIDC_SCOPES="openid groups",
            OIDC_VIEWER_GROUPS="staff, team/all ,ops",
            OIDC_OPERATOR_GROUPS="ops",
        )
    )
    assert (options.has_passwords, options.second_factor) == (False, "operators")
    assert options.provider.scopes == ("openid", "groups")
    assert options.provider.groups == {"staff": "viewer", "team/all": "viewer", "ops": "operator"}
    assert options.provider.discovery_url == f"{ISSUER}/.well-known/openid-configuration"
