"""Reserved names: users and tokens must not have the names of the product's own actors."""

import unicodedata

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError

# The shell on this host, by the owner of its socket.
HOST_NAME = "host"
# The actors of the audit trail that are not people: the host's shell, and the worker's parts.
RESERVED_NAMES = frozenset({HOST_NAME, "shell", "root", "worker", "reaper", "reconciler", "queue"})


# Letters that look like one of the reserved names' letters, after NFKC and case folding.
# Source: Unicode Technical Standard 39, confusables.txt; Cyrillic, Greek, Armenian, Cherokee, Lisu,
# small capitals, and digits.
LOOK_ALIKES = {
    "a": "\u0430\u03b1\u0251\u1d00\ua4ee\u13aa",
    "c": "\u0441\u03f2\u1d04\ua4da\u13df\u217d",
    "e": "\u0435\u0454\u03b5\u04bd\u1d07\ua4f0\u13ac3",
    "h": "\u04bb\u0570\u043d\u03b7\u029c\ua4e7\u13bb\u13c2",
    "i": "\u0456\u03b9\u04cf\u0131\u026a\ua4f2\u13de\u029fl1",
    "k": "\u043a\u03ba\u1d0b\ua4d7\u13e6",
    "n": "\u0578\u043f\u0274\ua4e0",
    "o": "\u043e\u03bf\u0585\u03c3\u1d0f\ua4f3\u0d20\u0966\u0665\u05e1\u00f8\u04e90",
    "p": "\u0440\u03c1\u1d18\ua4d1\u13e2",
    "q": "\u051b\u0566",
    "r": "\u0433\u0280\ua4e3\u13d2",
    "s": "\u0455\ua731\ua4e2\u13da\u01bd5",
    "t": "\u0442\u03c4\u1d1b\ua4d4\u13a2",
    "u": "\u03c5\u057d\u1d1c\ua4f4",
    "w": "\u051d\u0461\u03c9\u0561\u1d21\ua4ea\u13b3",
}
SKELETON = {ord(other): letter for letter, others in LOOK_ALIKES.items() for other in others}


def find_skeleton(name: str) -> str:
    """Return what the name looks like: equal for two names that are easily confused."""
    letters = unicodedata.normalize("NFKD", name.translate({0x03F2: "c", 0x03F9: "c"}))
    plain = "".join(one for one in letters if not unicodedata.combining(one))
    return unicodedata.normalize("NFKC", plain).casefold().translate(SKELETON)


RESERVED_SKELETONS = frozenset(map(find_skeleton, RESERVED_NAMES))


def validate_not_reserved(name: str) -> None:
    """Raise ValidationError `name_reserved` if the name is reserved, or looks as if it were.

    In any capitalization, and in letters of other alphabets.
    """
    if find_skeleton(name) in RESERVED_SKELETONS:
        detail = f"The name {name} is reserved for the audit trail. Choose another name."
        raise ValidationError(detail, code="name_reserved")


def validate_token_name(name: str) -> None:
    """Raise ValidationError `name_malformed` or `name_reserved` unless the name is allowed."""
    UnicodeUsernameValidator(
        message="A token's name may contain letters, digits and @ . + - _ only.",
        code="name_malformed",
    )(name)
    validate_not_reserved(name)
