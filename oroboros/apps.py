"""The Django project's own app: registers its system checks."""

from django.apps import AppConfig


class OroborosConfig(AppConfig):
    name = "oroboros"

    def ready(self) -> None:
        from oroboros import schema_check  # noqa: F401 — registers the check
