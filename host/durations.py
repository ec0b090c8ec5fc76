"""Durations as people read them."""


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text: `40 s`, `12 min`, `3 h 05 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
