"""Reading a forge's JSON: a value that is missing or of another type is refused by its path."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from forges.adapters.forge import ForgeEvent, OtherEvent, PayloadInvalid, PushEvent

T = TypeVar("T")
HEADS = "refs/heads/"
NO_COMMIT = "0" * 40


def read(payload: Any, path: str, kind: type[T]) -> T:
    """Return the value at the dotted path.

    Raises PayloadInvalid unless it is of that type, and for text that PostgreSQL refuses.
    """
    value = find(payload, path)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise PayloadInvalid(f"{path} is missing, or is not {kind.__name__}.")
    if isinstance(value, str) and _make_storable(value) != value:
        raise PayloadInvalid(f"{path} has a NUL, or half of a surrogate pair.")
    return value


def read_text(payload: Any, path: str) -> str:
    """Return the text at the path, "" for null and without it. Raises PayloadInvalid."""
    value = find(payload, path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise PayloadInvalid(f"{path} is not text.")
    return _make_storable(value)


def read_list(payload: Any, path: str) -> list[Any]:
    """Return the list at the path, empty for null and without it. Raises PayloadInvalid."""
    value = find(payload, path)
    if value is not None and not isinstance(value, list):
        raise PayloadInvalid(f"{path} is not a list.")
    return value or []


def _make_storable(text: str) -> str:
    """Return the text without NUL, and with a ? for each unpaired surrogate, as JSON may have."""
    return text.replace("\0", "").encode(errors="replace").decode()


def find(payload: Any, path: str) -> Any:
    """Return the value at the dotted path; None if there is none."""
    for name in path.split("."):
        if not isinstance(payload, Mapping):
            return None
        payload = payload.get(name)
    return payload


def read_time(payload: Any, path: str) -> datetime:
    """Return the time at the path. Raises PayloadInvalid for one that is not ISO 8601 with a zone.

    GitLab's webhooks write `2026-11-28 15:30:00 UTC`.
    """
    text = read_text(payload, path).replace(" UTC", "+00:00")
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PayloadInvalid(f"{path} is not a time.") from None
    if at.tzinfo is None:
        raise PayloadInvalid(f"{path} is a time without a zone.")
    return at


def read_push(payload: Any, repository_path: str) -> ForgeEvent:
    """Return the event of a push, which all forges describe alike. Raises PayloadInvalid."""
    ref, sha = read(payload, "ref", str), read(payload, "after", str)
    if not ref.startswith(HEADS):
        return OtherEvent(f"{ref} is not a branch.")
    repository = read(payload, repository_path, str)
    return PushEvent(repository, ref.removeprefix(HEADS), "" if sha == NO_COMMIT else sha)
