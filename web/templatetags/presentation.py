"""Filters for durations and long texts."""

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe

from host.durations import format_duration
from host.visible_text import split_marks

register = template.Library()
OPEN, CLOSE = mark_safe("<mark>"), mark_safe("</mark>")
register.filter("duration", format_duration)


@register.filter
def first_line(text: str) -> str:
    """Return the first line of the text."""
    return text.partition("\n")[0]


@register.filter
def remaining_lines(text: str) -> str:
    """Return the text without its first line."""
    return text.partition("\n")[2]


@register.filter
def visible(text: str) -> SafeString:
    """Return the text as HTML in which characters that would be hidden are marked."""
    pieces = split_marks(text)
    return format_html_join(
        "",
        "{}{}{}",
        ((OPEN, text, CLOSE) if is_mark else ("", text, "") for is_mark, text in pieces),
    )
