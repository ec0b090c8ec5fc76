"""How durations and long texts are written for people."""

from django import template

register = template.Library()


@register.filter
def lasting(seconds: float) -> str:
    """Return a duration in seconds as people say it: `40 s`, `12 min`, `3 h 05 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


@register.filter
def first_line(text: str) -> str:
    """Return the line that a list has room for."""
    return text.partition("\n")[0]


@register.filter
def other_lines(text: str) -> str:
    """Return what is shown of the text when somebody asks for more."""
    return text.partition("\n")[2]
