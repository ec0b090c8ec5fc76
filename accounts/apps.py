from django.apps import AppConfig, apps

from accounts.reserved_names import validate_not_reserved


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.models import User

        # The user model is Django's own, so the validator is added to its field. The admin's
        # forms and `createsuperuser` then run it.
        User._meta.get_field("username").validators.append(validate_not_reserved)
        if apps.is_installed("allauth.mfa"):  # not in the worker, which has no pages
            self._connect_sign_in()

    def _connect_sign_in(self) -> None:
        """Have our code called where allauth adds a factor or an account."""
        from allauth.mfa.signals import authenticator_added
        from allauth.socialaccount.signals import social_account_added

        from accounts.sign_in.forms import spend_first_code
        from accounts.sign_in.provider_accounts import finish_connection
        from accounts.sign_in.second_factor import end_sessions_without_factor

        authenticator_added.connect(end_sessions_without_factor)
        authenticator_added.connect(spend_first_code)
        social_account_added.connect(finish_connection)
