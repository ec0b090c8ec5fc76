"""The template filters."""

import pytest
from django.template import Context, Template

from runs.models import Freeze
from web.templatetags.columns import make_person_column
from web.templatetags.presentation import (
    code,
    first_line,
    get_initials,
    person,
    remaining_lines,
)


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


@pytest.mark.parametrize(
    ("name", "initials"),
    [
        ("olga", "OL"),
        ("ada.lovelace", "AL"),
        ("Ada King Lovelace", "AL"),
        ("ci_nightly", "CN"),
        ("ada@team.dev", "AD"),
        ("o", "O"),
        ("élodie ßen", "ÉS"),
        ("e\u0301lodie", "ÉL"),
        ("李 明", "李明"),
        ("7", "7"),
        ("--", "?"),
        ("@", "?"),
        ("", "?"),
    ],
)
def test_a_name_has_initials(name, initials):
    assert get_initials(name) == initials


def test_a_person_is_their_name_with_a_badge_that_is_no_text():
    assert person("<olga>") == (
        '<span class="oro-person">'
        '<span class="oro-initials" data-initials="OL" title="&lt;olga&gt;"'
        ' aria-hidden="true"></span><span>&lt;olga&gt;</span></span>'
    )
    assert person("") == ""


def test_a_list_shows_people_with_their_badges_and_says_if_there_is_none():
    column = make_person_column(Freeze, "lifted_by")
    assert (column.__name__, column.admin_order_field) == ("lifted_by", "lifted_by")
    assert column.short_description == "Lifted by"
    assert column(Freeze(lifted_by="olga")).endswith("<span>olga</span></span>")
    assert (column(Freeze()), column.empty_value_display) == (None, "–")
    for other in ("reason", "created_by", column):
        assert make_person_column(Freeze, other) is other
