"""Prints the report on a folder as a table."""

from collections.abc import Iterator, Sequence

from host.app.inspection.report import Report, Row

HEAD = Row("WHAT", "VALUE", "WHY")
WIDEST_VALUE = 64  # a longer one moves the reason of its own line only


def format_report(report: Report) -> list[str]:
    """Return the lines of the table, of what is missing, and of the problems and notes."""
    missing = [f"{one.name}, for {one.needed_by}: {one.command}" for one in report.missing]
    return [
        *_format_rows(report.rows),
        *_format_list("Missing on this host, with the command that installs it", missing),
        *_format_list("Not ready", report.problems),
        *_format_list("Notes", report.notes),
    ]


def _format_rows(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    name_width = max(len(row.name) for row in (HEAD, *rows))
    lengths = [len(row.value) for row in (HEAD, *rows) if len(row.value) <= WIDEST_VALUE]
    value_width = max(lengths)
    before = ""
    for row in (HEAD, *rows):
        name = "" if row.name == before else row.name
        yield f"{name:<{name_width}}  {row.value:<{value_width}}  {row.why}".rstrip()
        before = row.name


def _format_list(title: str, sentences: Sequence[str]) -> Iterator[str]:
    if sentences:
        yield ""
        yield f"{title}:"
        yield from (f"- {sentence}" for sentence in sentences)
