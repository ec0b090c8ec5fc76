"""What a receiver answered."""

import re
from dataclasses import dataclass

TEXT_LENGTH = 300


@dataclass(frozen=True)
class DeliveryAnswer:
    """The answer in a line, and what it means.

    `is_permanent`: the same message will not be taken later. `is_gone`: no message is wanted any
    more. `retry_after`: the seconds that the receiver asks to wait.
    """

    text: str
    is_delivered: bool = False
    is_permanent: bool = False
    is_gone: bool = False
    retry_after: float | None = None


def shorten(text: str) -> str:
    """Return the text as one line that fits on a page."""
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()[
        :TEXT_LENGTH
    ]
