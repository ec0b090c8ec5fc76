"""The template filters."""

import pytest
from django.template import Context, Template

from web.templatetags.presentation import code, first_line, remaining_lines


def test_a_duration_is_formatted():
    template = Template("{% load presentation %}{{ seconds|duration }}")
    assert template.render(Context({"seconds": 3900.4})) == "1 h 05 min"


def test_a_text_is_split_into_first_and_remaining_lines():
    assert (first_line("a\nb\nc"), remaining_lines("a\nb\nc")) == ("a", "b\nc")
    assert (first_line("a"), remaining_lines("a")) == ("a", "")
    assert (first_line("it ended:\nno"), first_line("it ended:")) == ("it ended", "it ended:")


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("`a` & `b`", "<code>a</code> &amp; <code>b</code>"),
        ("run `<all>` now", "run <code>&lt;all&gt;</code> now"),
        ("one ` & no other", "one ` &amp; no other"),
        ("", ""),
    ],
)
def test_what_is_between_backticks_is_code(text, html):
    assert code(text) == html
