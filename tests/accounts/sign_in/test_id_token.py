"""What counts as an ID token of the provider: forged, foreign and expired ones do not."""

import base64
import hashlib
import hmac
import json
import time
from functools import cache

import jwt
import pytest
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from accounts.sign_in.documents import check_discovery
from accounts.sign_in.provider import read_id_token
from accounts.sign_in.rules import (
    choose_email,
    choose_name,
    choose_role,
    needs_factor,
    read_groups,
)


@cache
def make_key(owner="the provider"):
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def make_curve():
    return ec.generate_private_key(ec.SECP256R1())


def make_jwk(key, kid):
    algorithm = (
        jwt.algorithms.RSAAlgorithm if hasattr(key, "decrypt") else jwt.algorithms.ECAlgorithm
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


@cache
def make_keys():
    return {"keys": [make_jwk(make_key(), "a"), make_jwk(make_curve(), "b")]}


def make_claims(**changes):
    now = int(time.time())
    claims = {"iss": "https://sso.test", "aud": "us", "sub": "rita", "nonce": "n", "iat": now}
    return {**claims, "exp": now + 300, **changes}


def sign(key=None, algorithm="RS256", kid="a", **changes):
    claims = {name: one for name, one in make_claims(**changes).items() if one is not None}
    return jwt.encode(claims, key or make_key(), algorithm=algorithm, headers={"kid": kid})


def read(token, keys=None):
    return read_id_token(
        token, keys or make_keys(), issuer="https://sso.test", client_id="us", nonce="n"
    )


def test_a_token_of_the_provider_is_read():
    assert read(sign())["sub"] == "rita"
    assert read(sign(make_curve(), "ES256", "b"))["sub"] == "rita"
    assert read(sign(aud=["us", "them"], azp="us"))["sub"] == "rita"
    assert read(jwt.encode(make_claims(), make_key(), "RS256"), {"keys": make_keys()["keys"][:1]})


def forge_with_public_key():
    """Sign with HS256 and the public key, which every client knows, as the secret."""

    def encode(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    public = (
        make_key()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    head = encode(json.dumps({"alg": "HS256", "kid": "a", "typ": "JWT"}).encode())
    text = head + b"." + encode(json.dumps(make_claims()).encode())
    return (text + b"." + encode(hmac.new(public, text, hashlib.sha256).digest())).decode()


@pytest.mark.parametrize(
    ("make_token", "cause"),
    [
        (lambda: jwt.encode(make_claims(), None, "none", {"kid": "a"}), "algorithm is 'none'"),
        (forge_with_public_key, "algorithm is 'HS256'"),
        (lambda: sign(make_key("a stranger")), "Signature verification failed"),
        (lambda: sign(kid="unknown"), "no such key"),
        (lambda: sign(kid="b"), "Not an RSA key"),
        (lambda: sign(iss="https://evil.test"), "Invalid issuer"),
        (lambda: sign(aud="them"), "Audience doesn't match"),
        (lambda: sign(aud=["us", "them"], azp="them"), "for another client"),
        (lambda: sign(nonce="another"), "of another sign-in"),
        (lambda: sign(nonce=None), "of another sign-in"),
        (lambda: sign(exp=int(time.time()) - 120), "has expired"),
        (lambda: sign(exp=None), '"exp" claim'),
        (lambda: sign(sub=None), '"sub" claim'),
        (lambda: sign(iat=int(time.time()) + 3600), "not yet valid"),
        (lambda: "", "Not enough segments"),
        (lambda: "a.b.c", "Invalid header"),
    ],
)
def test_any_other_token_is_refused_for_its_own_cause(make_token, cause):
    with pytest.raises(OAuth2Error, match=cause):
        read(make_token())


def test_a_discovery_document_of_another_issuer_or_without_encryption_is_refused():
    good = {"issuer": "https://sso.test", "token_endpoint": "https://api.sso.test/token"}
    check_discovery(good, "https://sso.test")
    for change in ({"issuer": "https://sso.test/"}, {"token_endpoint": "http://sso.test/token"}):
        with pytest.raises(OAuth2Error):
            check_discovery({**good, **change}, "https://sso.test")


def test_groups_are_read_from_a_list_a_text_or_a_path():
    assert read_groups({"groups": ["a", "b", 3]}, "groups") == {"a", "b"}
    assert read_groups({"role": "a"}, "role") == {"a"}
    assert read_groups({"realm_access": {"roles": ["a"]}}, "realm_access.roles") == {"a"}
    assert read_groups({"https://x.test/roles": ["a"]}, "https://x.test/roles") == {"a"}
    for claims in ({}, {"groups": None}, {"groups": {"a": 1}}, {"groups": "b"}):
        assert "a" not in read_groups(claims, "groups")
        assert not read_groups(claims, "groups.deep")


def test_the_role_with_most_abilities_counts():
    mapping = {"staff": "viewer", "ops": "operator", "reviewers": "approver"}
    assert choose_role({"staff", "ops", "x"}, mapping) == "operator"
    assert choose_role({"reviewers", "staff"}, mapping) == "approver"
    assert choose_role({"x", "OPS"}, mapping) == ""


def test_a_name_has_no_strange_characters_and_an_address_is_verified():
    assert choose_name({"preferred_username": " rita b/ö "}, "preferred_username") == "rita-b-ö"
    assert choose_name({"n": "ｏｌｇａ"}, "n") == "olga"
    assert choose_name({"sub": "s-1"}, "preferred_username") == "s-1"
    assert len(choose_name({"n": "a" * 999}, "n")) == 150
    assert choose_email({"email": "a@b.test", "email_verified": True}) == "a@b.test"
    for verified in (False, None, "true", 1):
        assert choose_email({"email": "a@b.test", "email_verified": verified}) == ""


@pytest.mark.parametrize(
    ("rule", "operator", "viewer"),
    [("optional", False, False), ("operators", True, False), ("everyone", True, True)],
)
def test_who_needs_a_second_factor(rule, operator, viewer):
    assert needs_factor(rule, is_operator=True) is operator
    assert needs_factor(rule, is_operator=False) is viewer
