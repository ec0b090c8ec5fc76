"""allauth's OpenID Connect provider, with the checks that it leaves to others.

It takes the issuer from the discovery document, ID tokens from the token endpoint without their
signature, a user info of whatever subject, and knows no nonce. Here each of them is checked.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import jwt
from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from allauth.utils import build_absolute_uri
from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from accounts.sign_in import documents, rules

LEEWAY_SECONDS = 60  # by which the provider's clock may be off


def make_nonce(code_verifier: str) -> str:
    """Return the nonce of a sign-in: of the secret that its state holds, so it is used once."""
    return hashlib.sha256(f"nonce {code_verifier}".encode()).hexdigest()


def read_id_token(
    text: str, keys: Mapping[str, Any], *, issuer: str, client_id: str, nonce: str
) -> dict[str, Any]:
    """Return the claims of an ID token; `keys` is the provider's JWK set.

    Raises OAuth2Error for one that is not signed by the provider, for another client or another
    sign-in, or has expired. Source: OpenID Connect Core 1.0, 3.1.3.7.
    """
    try:
        header = jwt.get_unverified_header(text)
        if header.get("alg") not in rules.ALGORITHMS:
            raise OAuth2Error(f"the ID token's algorithm is {header.get('alg')!r}")
        claims = jwt.decode(
            text,
            _find_key(keys, header),
            algorithms=[header["alg"]],
            issuer=issuer,
            audience=client_id,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
        raise OAuth2Error(f"the ID token is refused: {error}") from error
    if claims.get("azp", client_id) != client_id:
        raise OAuth2Error("the ID token is for another client")
    if not constant_time_compare(str(claims.get("nonce", "")), nonce):
        raise OAuth2Error("the ID token is of another sign-in")
    return claims


def _find_key(keys: Mapping[str, Any], header: Mapping[str, Any]) -> jwt.PyJWK:
    usable = [one for one in keys["keys"] if one.get("use", "sig") == "sig"]
    if "kid" in header:
        usable = [one for one in usable if one.get("kid") == header["kid"]]
    if len(usable) != 1:
        raise OAuth2Error("the provider has no such key")
    return jwt.PyJWK(usable[0], algorithm=header["alg"])


class CheckedAdapter(OpenIDConnectOAuth2Adapter):
    """The requests to the provider, and the checks of its answers."""

    nonce = ""

    @property
    def openid_config(self) -> dict[str, Any]:
        return documents.read_discovery(settings.SIGN_IN.get_provider())

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return build_absolute_uri(request, reverse("sign-in-callback"))

    def get_access_token_data(
        self, request: HttpRequest, app: SocialApp, client: Any, pkce_code_verifier: Any = None
    ) -> Any:
        self.nonce = make_nonce(str(pkce_code_verifier))
        return super().get_access_token_data(request, app, client, pkce_code_verifier)

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """Return who signs in, by the claims of the ID token and of the user info."""
        read = partial(
            read_id_token,
            str(kwargs["response"].get("id_token", "")),
            issuer=settings.SIGN_IN.get_provider().issuer,
            client_id=app.client_id,
            nonce=self.nonce,
        )
        claims = documents.read_with_keys(self.openid_config["jwks_uri"], read)
        if "userinfo_endpoint" in self.openid_config:
            userinfo = self._fetch_user_info(token.token)
            # OpenID Connect Core 1.0, 5.3.2: else it may be another person's.
            if userinfo.get("sub") != claims["sub"]:
                raise OAuth2Error("the user info is about another person")
            claims = {**claims, **userinfo}
        return self.get_provider().sociallogin_from_response(request, {"userinfo": claims})


class CheckedProvider(OpenIDConnectProvider):
    """The provider of the settings."""

    oauth2_adapter_class = CheckedAdapter

    def get_pkce_params(self) -> dict[str, str]:
        params = super().get_pkce_params()
        return {**params, "nonce": make_nonce(params["code_verifier"])}

    def extract_extra_data(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is kept of the claims: what the sign-in was decided by."""
        claims, provider = data["userinfo"], settings.SIGN_IN.get_provider()
        return {
            "name": rules.choose_name(claims, provider.name_claim),
            "email": rules.choose_email(claims),
            "groups": sorted(rules.read_groups(claims, provider.groups_claim)),
        }
