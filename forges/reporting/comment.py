"""The text of the comment on a pull request, in Markdown: no I/O.

What people or programs wrote is within code, where it is neither markup nor a mention.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forges.adapters.forge import StatusState
from forges.reporting.stages import StageState

NAMES = {"preview": "Preview", "merge-gate": "Merge gate", "deploy": "Deploy"}
WORDS = {
    StatusState.PENDING: "⏳ pending",
    StatusState.SUCCESS: "✅ passed",
    StatusState.FAILURE: "❌ failed",
    StatusState.ERROR: "⚪ ended",
}
LINE_LENGTH, MOST_LINES, MOST_CHANGES = 300, 30, 40
WRAPPED_LENGTH = 90


@dataclass(frozen=True)
class Failure:
    """Why a run failed; `lines` are the last of the failed step's log."""

    code: str
    cause: str
    detail: str
    lines: str


@dataclass(frozen=True)
class CommentFacts:
    """What the comment says. An empty value is left out."""

    marker: str
    commit: str
    branch: str = ""
    preview_url: str = ""
    run_url: str = ""
    expires: str = ""
    stages: Sequence[StageState] = ()
    schema_changes: Sequence[str] = ()
    irreversible_changes: Sequence[str] = ()
    failure: Failure | None = None
    next_action: str = ""
    notes: Sequence[str] = ()
    screenshot_change: str = ""
    mail_count: int = 0
    answer: str = ""


def write_comment(facts: CommentFacts) -> str:
    """Return the comment; it begins with the marker, by which it is found again."""
    next_action = format_block(wrap(facts.next_action)) if facts.next_action else ""
    parts = [
        facts.marker,
        _write_head(facts),
        _write_stages(facts.stages),
        _write_schema(facts),
        _write_what_it_shows(facts),
        _write_failure(facts.failure),
        _write_lines("Notes", facts.notes),
        f"**Latest command**: {format_code(facts.answer)}" if facts.answer else "",
        f"**What to do next**\n{next_action}" if next_action else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _write_head(facts: CommentFacts) -> str:
    links = []
    if facts.preview_url:
        until = f" until {facts.expires}" if facts.expires else ""
        links.append(f"**[Open the preview]({facts.preview_url})**{until}")
    if facts.run_url:
        links.append(f"[Run and logs]({facts.run_url})")
    what = f"{format_code(facts.branch)} at " if facts.branch else ""
    title = f"### Preview of {what}{format_code(facts.commit[:12])}"
    return "\n\n".join([title, " · ".join(links)]) if links else title


def _write_what_it_shows(facts: CommentFacts) -> str:
    """Return what the run's page shows of the preview: neither pictures nor mails are public."""
    lines = []
    if facts.screenshot_change:
        link = f"[screenshots]({facts.run_url})"
        lines.append(f"- Up to {facts.screenshot_change} of a page's pixels changed: {link}")
    if facts.mail_count:
        mails = "mail" if facts.mail_count == 1 else "mails"
        link = f"[{facts.mail_count} {mails}]({facts.run_url})"
        lines.append(f"- The preview has sent {link}, none of them delivered.")
    return "\n".join(lines)


def _write_stages(stages: Sequence[StageState]) -> str:
    if not stages:
        return ""
    rows = [
        f"| {NAMES[one.stage]} | {WORDS[one.state]} | {format_code(one.text)} |" for one in stages
    ]
    return "\n".join(["| Stage | State | |", "|---|---|---|", *rows])


def _write_schema(facts: CommentFacts) -> str:
    parts = [
        _write_lines("⚠️ Schema changes that a rollback does not undo", facts.irreversible_changes),
        _write_lines("Schema changes", facts.schema_changes),
    ]
    return "\n\n".join(part for part in parts if part)


def _write_lines(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    shown = [f"- {format_code(line)}" for line in lines[:MOST_CHANGES]]
    more = len(lines) - len(shown)
    return "\n".join([f"**{title}**\n", *shown, *([f"- and {more} more"] if more else [])])


def _write_failure(failure: Failure | None) -> str:
    if failure is None:
        return ""
    parts = [f"**{format_code(failure.code)}**: {failure.cause}"]
    parts += [format_block(text) for text in (failure.detail, failure.lines) if text.strip()]
    return "\n\n".join(parts)


def format_code(text: str) -> str:
    """Return one line of text as code, also within a table; backticks are replaced."""
    line = " ".join(text.split())[:LINE_LENGTH]
    # A table's cell ends at a bar even within code.
    return f"`{line.replace('`', 'ˋ').replace('|', '¦')}`" if line else ""


def format_block(text: str) -> str:
    """Return the last lines of a text as a block of code that nothing within it can end."""
    lines = list(_cut_lines(text))[-MOST_LINES:]
    longest = max((len(found) for line in lines for found in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])


def wrap(text: str) -> str:
    """Return the text in lines that a block of code shows without scrolling."""
    return "\n".join(textwrap.fill(line, WRAPPED_LENGTH) for line in text.splitlines())


def _cut_lines(text: str) -> Iterator[str]:
    for line in text.rstrip().splitlines():
        yield line if len(line) <= LINE_LENGTH else f"{line[:LINE_LENGTH]} …"
