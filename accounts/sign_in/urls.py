"""The addresses of the sign-in. allauth's others, such as its sign-up and password reset, are none.

Below /admin/account/, so that the audit trail has their changes.
"""

from collections.abc import Callable
from typing import Any

from allauth.account.views import reauthenticate
from allauth.mfa.base import views as factors
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as app
from allauth.mfa.webauthn import views as keys
from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.http import HttpResponseBase
from django.urls import path
from django.views.generic import RedirectView

from accounts.sign_in.views import ChangePasswordView, SignInView, finish, show_account, start


def guard(view: Callable[..., HttpResponseBase]) -> Callable[..., Any]:
    """Return the view for people who may use the admin; others are sent to log in."""
    return admin.site.admin_view(view)


# allauth comes back to a page of its own.
to_overview = RedirectView.as_view(pattern_name="account-overview")

urlpatterns = [
    path("login/", SignInView.as_view(), name="account_login"),
    path("password_change/", guard(ChangePasswordView.as_view()), name="account_change_password"),
    path("account/cancel/", LogoutView.as_view(next_page="admin:login"), name="account_logout"),
    path("account/sign-in/", start, name="sign-in-start"),
    path("account/sign-in/callback/", finish, name="sign-in-callback"),
    path("account/factor/", factors.authenticate, name="mfa_authenticate"),
    path("account/", guard(show_account), name="account-overview"),
    path("account/factors/", guard(to_overview), name="mfa_index"),
    path("account/confirm/", guard(reauthenticate), name="account_reauthenticate"),
    path("account/confirm/code/", guard(factors.reauthenticate), name="mfa_reauthenticate"),
    path(
        "account/confirm/key/",
        guard(keys.reauthenticate_webauthn),
        name="mfa_reauthenticate_webauthn",
    ),
    path("account/app/add/", guard(app.activate_totp), name="mfa_activate_totp"),
    path("account/app/remove/", guard(app.deactivate_totp), name="mfa_deactivate_totp"),
    path("account/codes/", guard(codes.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "account/codes/new/",
        guard(codes.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/codes/file/",
        guard(codes.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
    path("account/keys/", guard(keys.list_webauthn), name="mfa_list_webauthn"),
    path("account/keys/add/", guard(keys.add_webauthn), name="mfa_add_webauthn"),
    path("account/keys/<int:pk>/remove/", guard(keys.remove_webauthn), name="mfa_remove_webauthn"),
    path("account/keys/<int:pk>/edit/", guard(keys.edit_webauthn), name="mfa_edit_webauthn"),
]
