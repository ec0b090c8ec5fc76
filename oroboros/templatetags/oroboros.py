"""How durations are written for people."""

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
