"""Filters for durations and long texts, and the one style of a state: unfold's label."""

import re
import unicodedata
from datetime import datetime
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from host.durations import format_duration
from host.visible_text import split_marks, split_named_marks

register = template.Library()
OPEN, CLOSE = mark_safe("<mark>"), mark_safe("</mark>")
EMPTY = SafeString("")
register.filter("duration", format_duration)

# unfold's type of the label of each state: of runs, steps, slots, leases, releases, deployments.
# One that is not listed is grey, as is all that says neither good nor bad.
CHIP_TYPES = {
    **dict.fromkeys(("merged", "live", "free", "succeeded", "sent"), "success"),
    **dict.fromkeys(("preview_ready", "leased", "held"), "primary"),
    **dict.fromkeys(("preparing", "holding", "running", "building", "built"), "info"),
    **dict.fromkeys(("approved", "merging", "deploying", "cleaning", "ending"), "warning"),
    **dict.fromkeys(("restored", "drained", "warning"), "warning"),
    **dict.fromkeys(("failed", "rejected", "quarantined", "stuck", "given up"), "danger"),
}


@register.simple_tag(name="chip")
def render_chip(state: str, text: str) -> SafeString:
    """Return a label with the text, in the colour of the state."""
    context = {"text": text, "type": CHIP_TYPES.get(state, ""), "class": "oro-chip"}
    return SafeString(render_to_string("unfold/helpers/label.html", context).strip())


# The icon of a page's tab, by the type of the state's label; "" has the plain one.
TAB_ICONS = {"success": "-success", "primary": "-success", "danger": "-danger"}
TAB_ICONS |= dict.fromkeys(("info", "warning"), "-busy")


@register.simple_tag
def tab_icon(state: str) -> str:
    """Return the address of the icon that tells the state in the browser's tab."""
    return static(f"oroboros/icon{TAB_ICONS.get(CHIP_TYPES.get(state, ''), '')}.svg")


@register.filter
def moment(at: datetime | None) -> SafeString:
    """Return a time as HTML, to the minute and with its zone; its title has the seconds."""
    return _format_time(at, "%Y-%m-%d %H:%M %Z")


@register.filter
def ago(at: datetime | None) -> SafeString:
    """Return a time as `moment` does; live.js writes how long ago it was, if that is not long."""
    return _format_time(at, "%Y-%m-%d %H:%M %Z", more=SafeString(" data-ago"))


@register.filter
def clock(at: datetime | None) -> SafeString:
    """Return a time of the day as `moment` does; its title has the date."""
    return _format_time(at, "%H:%M:%S %Z")


@register.filter
def moment_seconds(at: datetime | None) -> SafeString:
    """Return a time as `moment` does, with its seconds."""
    return _format_time(at, "%Y-%m-%d %H:%M:%S %Z")


def _format_time(at: datetime | None, form: str, more: SafeString = EMPTY) -> SafeString:
    if at is None:
        return SafeString("")
    local = timezone.localtime(at)
    title = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    return format_html(
        '<time datetime="{}" title="{}"{}>{}</time>',
        local.isoformat(),
        title,
        more,
        f"{local:{form}}",
    )


@register.filter
def first_line(text: str) -> str:
    """Return the first line of the text, without the colon before what is left out."""
    first, _, rest = text.partition("\n")
    return first.removesuffix(":") if rest else first


@register.filter
def remaining_lines(text: str) -> str:
    """Return the text without its first line."""
    return text.partition("\n")[2]


@register.filter
def code(text: str) -> SafeString:
    """Return the text as HTML, with what is between two backticks as code."""
    words = text.split("`")
    if len(words) % 2 == 0:  # one backtick has no other
        return format_html("{}", text)
    pairs = zip(words[::2], [*words[1::2], ""], strict=True)
    return format_html_join(
        "",
        "{}{}",
        ((one, format_html("<code>{}</code>", two) if two else "") for one, two in pairs),
    )


@register.filter
def visible(text: str) -> SafeString:
    """Return the text as HTML in which characters that would be hidden are marked."""
    pieces = split_marks(text)
    return format_html_join(
        "",
        "{}{}{}",
        ((OPEN, text, CLOSE) if is_mark else ("", text, "") for is_mark, text in pieces),
    )


@register.filter
def code_line(line: Any) -> SafeString:
    """Return a line of a patch as `visible` does, its pieces in the colours of their classes."""
    if not line.pieces:
        return visible(line.text)
    shown = []
    for name, is_mark, text in split_named_marks(line.pieces):
        inner = format_html("<mark>{}</mark>", text) if is_mark else escape(text)
        shown.append(format_html('<span class="{}">{}</span>', name, inner) if name else inner)
    return SafeString("".join(shown))


def get_initials(name: str) -> str:
    """Return the first letters of the first and the last word of a name, or two of its only word.

    Words are divided by what is neither letter nor digit, as in "ada.lovelace" and "ci_nightly".
    What follows an @ is no part of a name. Without any word it is "?".
    """
    words = re.findall(r"[^\W_]+", unicodedata.normalize("NFC", name.partition("@")[0]))
    letters = words[0][:2] if len(words) == 1 else [word[0] for word in (*words[:1], *words[-1:])]
    return "".join(letter.upper()[:1] for letter in letters) or "?"


@register.filter
def person(name: str) -> SafeString:
    """Return a name as HTML with a badge of its initials; "" for none.

    The initials are added by CSS, so that text which is searched or copied is the name alone.
    """
    if not name:
        return EMPTY
    return format_html(
        '<span class="oro-person"><span class="oro-initials" data-initials="{}" title="{}"'
        ' aria-hidden="true"></span><span>{}</span></span>',
        get_initials(name),
        name,
        name,
    )
