"""Access as a GitHub App: a token of the installation, used until shortly before it expires."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from forges.adapters import github_app
from forges.adapters.http_client import ForgeFailed
from forges.adapters.known_forges import create_forge
from forges.forge_settings import read_forge_settings
from host.errors import Refused

pytestmark = pytest.mark.django_db


def write_key(path):
    """Write an App's private key, and return its public one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, nothing = serialization.Encoding.PEM, serialization.NoEncryption()
    form = serialization.PrivateFormat.TraditionalOpenSSL
    path.write_bytes(key.private_bytes(encoding, form, nothing))
    return key.public_key()


@pytest.fixture
def app(world, tmp_path):
    """The world, in which Oroboros is an App; a function returns its adapter."""
    world.forge.app_key = write_key(tmp_path / "app.pem")
    world.configure(
        FORGE_TOKEN_FILE="", FORGE_APP_ID="77", FORGE_APP_KEY_FILE=str(tmp_path / "app.pem")
    )
    yield lambda: create_forge(read_forge_settings(world.config))
    github_app._tokens.clear()


def test_a_pull_request_is_served_by_the_app_with_one_token(world, app):
    pull = world.pull()
    assert world.deliver(pull).decision == "acted"
    world.report()
    assert len(pull.comments) == 1
    assert world.forge.tokens == 1


def test_a_token_is_replaced_before_it_expires(world, app):
    world.forge.token_lifetime = timedelta(minutes=5)
    for _ in range(2):
        app().list_open_pull_requests()
    assert world.forge.tokens == 2
    world.forge.token_lifetime = timedelta(minutes=6)
    for _ in range(3):
        app().list_open_pull_requests()
    assert world.forge.tokens == 3


def test_a_token_that_was_revoked_is_replaced_after_the_refusal(world, app):
    app().list_open_pull_requests()
    world.forge.token = "another"
    with pytest.raises(ForgeFailed, match="401"):
        app().list_open_pull_requests()
    app().list_open_pull_requests()
    assert world.forge.tokens == 2


def test_another_key_than_the_apps_is_refused_with_the_reason(world, app, tmp_path):
    world.forge.app_key = rsa.generate_private_key(65537, 2048).public_key()
    with pytest.raises(ForgeFailed, match="401"):
        app().list_open_pull_requests()
    (tmp_path / "app.pem").write_text("no key")
    with pytest.raises(Refused, match="is no private RSA key in PEM"):
        app().list_open_pull_requests()
    (tmp_path / "app.pem").unlink()
    with pytest.raises(Refused, match="No such file"):
        app().list_open_pull_requests()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"FORGE_TOKEN_FILE": "/token"}, "not both"),
        ({"FORGE_APP_KEY_FILE": ""}, "need each other"),
        ({"FORGE": "gitlab"}, "for GitHub only"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(world, app, changes, words):
    world.configure(**changes)
    with pytest.raises(Refused, match=words):
        read_forge_settings(world.config)


def test_a_forge_without_deployments_refuses_the_setting(world):
    world.configure(FORGE="gitea", FORGE_DEPLOYMENTS="true")
    with pytest.raises(Refused, match="gitea has no API for deployments"):
        read_forge_settings(world.config)
