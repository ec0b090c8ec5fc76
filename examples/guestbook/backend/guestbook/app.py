"""What the guestbook answers: a request becomes a status and a JSON value."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

NAME_LENGTH = 80
MESSAGE_LENGTH = 500
SHOWN_ENTRIES = 100


class Book(Protocol):
    """Where the entries are kept."""

    def health(self) -> dict[str, Any]: ...
    def entries(self, limit: int) -> list[dict[str, Any]]: ...
    def sign(self, name: str, message: str) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


class Wrong(Exception):
    """The request is not one we understand; the text is for people."""


Handler = Callable[..., Answer]


def health(book: Book, body: bytes) -> Answer:
    return Answer(200, {"status": "ok", **book.health()})


def list_entries(book: Book, body: bytes) -> Answer:
    return Answer(200, {"entries": book.entries(SHOWN_ENTRIES)})


def sign(book: Book, body: bytes) -> Answer:
    entry = read_object(body)
    name = read_text(entry, "name", NAME_LENGTH)
    message = read_text(entry, "message", MESSAGE_LENGTH)
    return Answer(201, book.sign(name, message))


ROUTES: list[tuple[str, str, Handler]] = [
    ("GET", "/health", health),
    ("GET", "/api/health", health),
    ("GET", "/api/entries", list_entries),
    ("POST", "/api/entries", sign),
]


def respond(book: Book, method: str, path: str, body: bytes = b"") -> Answer:
    """Find who answers and let it; groups of the route's pattern are its arguments."""
    known = False
    for verb, pattern, handler in ROUTES:
        match = re.fullmatch(pattern, path)
        known = known or match is not None
        if match is not None and verb == method:
            try:
                return handler(book, body, *match.groups())
            except Wrong as error:
                return Answer(400, {"error": str(error)})
    if known:
        return Answer(405, {"error": "That is not done here."})
    return Answer(404, {"error": "There is nothing here."})


def read_object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Wrong("Send a JSON object.")
    return value


def read_text(entry: dict[str, Any], key: str, length: int) -> str:
    value = entry.get(key)
    text = value.strip() if isinstance(value, str) else ""
    if not text or "\0" in text:
        raise Wrong(f"Please write a {key}.")
    if len(text) > length:
        raise Wrong(f"The {key} has more than {length} letters.")
    return text
