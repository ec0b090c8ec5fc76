"""Answers in which text from outside cannot control a terminal or reorder a page.

Titles, events, file names and messages come from branches, people and remotes. JSON has the
characters as escapes, so that its data stays the same; a page shows a mark such as `<U+202E>`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from django.core.validators import RegexValidator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.renderers import JSONRenderer

# C0 without tab, line feed and carriage return, C1, bidi controls and marks, zero-width characters
# other than the joiners of words and emoji, line separators, and tags (Unicode, chapter 23).
CONTROLS = (
    "\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb"
)
CONTROL = re.compile(f"[{CONTROLS}\U000e0000-\U000e007f]")
MESSAGE = "Must not contain control characters or characters that reorder or hide text."
# The same for the API and for forms; the schema states the pattern.
TEXT = RegexValidator(f"^[^{CONTROLS}]*$", MESSAGE, code="control_characters")


LINE = RegexValidator(r"^[^\t\n\r]*\Z", "Must be a single line.", code="multiline")


class VisibleJSONRenderer(JSONRenderer):
    """JSON whose control characters are escapes: the API's answers are read in terminals too."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        rendered = super().render(data, accepted_media_type, renderer_context)
        return CONTROL.sub(_escape, rendered.decode()).encode() if rendered else rendered


def mark_control_characters(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware: show the control characters in a page as marks, whatever the page shows."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        is_page = response.get("Content-Type", "").startswith("text/html")
        if is_page and isinstance(response, HttpResponse):
            text = response.content.decode(response.charset, "replace")
            if CONTROL.search(text):
                response.content = CONTROL.sub(_mark, text).encode(response.charset)
        return response

    return middleware


def _escape(match: re.Match[str]) -> str:
    # Above U+FFFF JSON has surrogate pairs.
    raw = match[0].encode("utf-16-be")
    return "".join(f"\\u{raw[at]:02x}{raw[at + 1]:02x}" for at in range(0, len(raw), 2))


def _mark(match: re.Match[str]) -> str:
    return f"&lt;U+{ord(match[0]):04X}&gt;"
