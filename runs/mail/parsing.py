"""Reads a message as mail programs do. It is untrusted: whatever it has, the result is text.

Pure functions. Python's own objects for headers and parts raise on input that is no valid message.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser

TEXT_LENGTH = 200_000  # what is longer is cut, and says so
HEADER_LENGTH = 1000
MAX_PARTS = 200
MAX_NESTING = 50
NAME_LENGTH = 150  # of an attachment's file


@dataclass(frozen=True)
class Attachment:
    """A file of the message."""

    name: str
    content_type: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)


@dataclass(frozen=True)
class Mail:
    """A message. `recipients` are those of the envelope, of which a `Bcc` is no header field."""

    sender: str
    recipients: tuple[str, ...]
    subject: str
    date: str
    text: str = ""
    html: str = ""
    attachments: tuple[Attachment, ...] = ()


def parse_head(raw: bytes) -> Mail:
    """Return the message without its parts."""
    return _read_head(BytesHeaderParser(policy=policy.compat32).parsebytes(raw))


def parse_mail(raw: bytes) -> Mail:
    """Return the message with its text, its HTML and its attachments."""
    try:
        message = message_from_bytes(raw, policy=policy.compat32)
        parts = list(_list_parts(message, 0))[:MAX_PARTS]
    except RecursionError:  # the standard library's parser nests as the message does
        head = parse_head(raw)
        return Mail(head.sender, head.recipients, head.subject, head.date, raw_text(raw))
    head = _read_head(message)
    texts = [part for part in parts if _is_body(part, "text/plain")]
    pages = [part for part in parts if _is_body(part, "text/html")]
    shown = {id(part) for part in (*texts[:1], *pages[:1])}
    return Mail(
        head.sender,
        head.recipients,
        head.subject,
        head.date,
        "".join(map(_read_text, texts[:1])),
        "".join(map(_read_text, pages[:1])),
        tuple(_read_attachment(part) for part in parts if id(part) not in shown),
    )


def raw_text(raw: bytes) -> str:
    """Return a message that cannot be taken apart, as text."""
    return _cut(raw.decode("utf-8", "replace"))


def _list_parts(message: Message, depth: int) -> Iterator[Message]:
    """Yield the parts that contain no others, in their order."""
    payload = message.get_payload()
    if not isinstance(payload, list) or depth == MAX_NESTING:
        yield message
        return
    for part in payload:
        if isinstance(part, Message):
            yield from _list_parts(part, depth + 1)


def _read_head(message: Message) -> Mail:
    recipients = message.get_all("Delivered-To") or message.get_all("To") or []
    return Mail(
        _decode(message.get("From") or message.get("Return-Path")),
        tuple(_decode(one) for one in recipients),
        _decode(message.get("Subject")),
        _decode(message.get("Date")),
    )


def _decode(value: object) -> str:
    """Decode a header field; one that breaks the rules is shown as it is."""
    text = "" if value is None else str(value)
    with suppress(MessageError, LookupError, ValueError):
        text = str(make_header(decode_header(text)))
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(text.split())[:HEADER_LENGTH]


def _is_body(part: Message, content_type: str) -> bool:
    is_attached = str(part.get("Content-Disposition", "")).lower().startswith("attachment")
    return part.get_content_type() == content_type and not is_attached


def _read_content(part: Message) -> bytes:
    try:
        content = part.get_payload(decode=True)
    except (ValueError, LookupError):
        content = None
    return (
        content
        if isinstance(content, bytes)
        else str(part.get_payload()).encode("utf-8", "replace")
    )


def _read_text(part: Message) -> str:
    content = _read_content(part)
    try:
        return _cut(content.decode(str(part.get_content_charset() or "utf-8"), "replace"))
    except (LookupError, ValueError):  # a charset that does not exist
        return _cut(content.decode("utf-8", "replace"))


def _cut(text: str) -> str:
    if len(text) <= TEXT_LENGTH:
        return text
    return f"{text[:TEXT_LENGTH]}\n… {len(text) - TEXT_LENGTH} more characters, in the artifact"


def _read_attachment(part: Message) -> Attachment:
    try:
        name = part.get_filename() or ""
    except (ValueError, LookupError):
        name = ""
    name = _decode(name).replace("/", "_")[:NAME_LENGTH] or "attachment"
    return Attachment(name, part.get_content_type(), _read_content(part))
