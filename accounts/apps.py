from django.apps import AppConfig

from accounts.reserved_names import validate_not_reserved


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.models import User

        # The user model is Django's own, so the validator is added to its field. The admin's
        # forms and `createsuperuser` then run it.
        User._meta.get_field("username").validators.append(validate_not_reserved)
