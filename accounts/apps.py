from django.apps import AppConfig

from accounts.reserved_names import validate_name


class AccountsConfig(AppConfig):
    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.contrib.auth.models import User

        # Users are Django's own: its forms and `createsuperuser` ask this field what is a name.
        User._meta.get_field("username").validators.append(validate_name)
