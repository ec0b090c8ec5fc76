"""Columns of texts that people, forges and programs wrote: secrets in them are not stored."""

from typing import Any

from django.conf import settings
from django.db import models

from host.masking.known_secrets import read_masks
from host.masking.masks import MIN_SECRET_LENGTH


class MaskedTextField(models.TextField):
    """A text whose secrets are masked by every write through the ORM, also by `update()`."""

    def get_prep_value(self, value: Any) -> Any:
        return mask_value(super().get_prep_value(value))

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        # The column is Django's own, so migrations need not know this class.
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs


class MaskedCharField(models.CharField):
    """As MaskedTextField; what a mask makes too long is cut."""

    def get_prep_value(self, value: Any) -> Any:
        masked = mask_value(super().get_prep_value(value))
        return masked[: self.max_length] if masked != value and isinstance(masked, str) else masked

    def deconstruct(self) -> tuple[str, str, Any, Any]:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs


def mask_value(value: Any) -> Any:
    """Return a text with its secrets masked, and anything else as it is."""
    if not isinstance(value, str) or len(value) < MIN_SECRET_LENGTH:
        return value
    return read_masks(settings.OROBOROS).mask(value)
