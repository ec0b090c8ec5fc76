"""Names in the audit trail: those that the machine goes by are nobody else's."""

import unicodedata

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

# The shell on this host and who types in it; the worker and what it has at work; grants of slots.
RESERVED = frozenset({"host", "shell", "root", "worker", "reaper", "reconciler", "line"})


def validate_name(name: str) -> None:
    """Refuse a name of the machine's for somebody else. Raises ValidationError `name_reserved`."""
    if unicodedata.normalize("NFKC", name).casefold() in RESERVED:
        told = f"The audit trail calls the machine itself {name}: choose another name."
        raise ValidationError(told, code="name_reserved")


def validate_token_name(name: str) -> None:
    """Refuse what would not be read as the name of a token. Raises ValidationError."""
    UnicodeUsernameValidator(
        message="A token's name has letters, digits and @ . + - _ only.", code="name_malformed"
    )(name)
    validate_name(name)
