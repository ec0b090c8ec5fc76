"""Filters for durations and long texts."""

from django import template

from host.durations import format_duration

register = template.Library()
register.filter("duration", format_duration)


@register.filter
def first_line(text: str) -> str:
    """Return the first line of the text."""
    return text.partition("\n")[0]


@register.filter
def remaining_lines(text: str) -> str:
    """Return the text without its first line."""
    return text.partition("\n")[2]
