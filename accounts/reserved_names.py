"""Reserved names: users and tokens must not have the names of the product's own actors."""

import unicodedata

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

# The shell on this host, by the owner of its socket.
HOST_NAME = "host"
# The actors of the audit trail that are not people: the host's shell, and the worker's parts.
RESERVED_NAMES = frozenset({HOST_NAME, "shell", "root", "worker", "reaper", "reconciler", "queue"})


def validate_not_reserved(name: str) -> None:
    """Raise ValidationError `name_reserved` if the name is reserved, in any capitalization."""
    # NFKC maps look-alikes, such as full-width letters, to the letters they look like.
    if unicodedata.normalize("NFKC", name).casefold() in RESERVED_NAMES:
        detail = f"The name {name} is reserved for the audit trail. Choose another name."
        raise ValidationError(detail, code="name_reserved")


def validate_token_name(name: str) -> None:
    """Raise ValidationError `name_malformed` or `name_reserved` unless the name is allowed."""
    UnicodeUsernameValidator(
        message="A token's name may contain letters, digits and @ . + - _ only.",
        code="name_malformed",
    )(name)
    validate_not_reserved(name)
