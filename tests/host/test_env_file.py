"""The rules of env files: as python-dotenv has them, nothing filled in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host import env_file
from host.env_file import format_assignment, replace_values
from host.errors import Refused
from ops.installed import secret_env_files


def parse(text):
    return env_file.parse_env(text, "x.env")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=abc#def", "abc#def"),
        ("A=on # a comment", "on"),
        ("A=on\t# a comment", "on"),
        ("A=#fff", "#fff"),
        ("A= # a comment", ""),
        ("A=", ""),
        ("A = spaces ", "spaces"),
        ('A="a b" # why', "a b"),
        ('A="a # b"', "a # b"),
        ("A='a # b'#c", "a # b"),
        ("A=$2b$12$abc", "$2b$12$abc"),
        ('A="${B} $C"', "${B} $C"),
        (r'A="one\ntwo\t\"three\" \\ \d"', 'one\ntwo\t"three" \\ \\d'),
        (r"A='one\ntwo \' \\'", r"one\ntwo ' \ ".strip()),
        (r"A=one\ntwo", r"one\ntwo"),
        ('A="-----BEGIN\nabc\n-----END"', "-----BEGIN\nabc\n-----END"),
        ("A='first # no comment\n\n# nor this'", "first # no comment\n\n# nor this"),
        ("export A=1", "1"),
        ("  export\tA='1'", "1"),
        ("A=it's", "it's"),
        ("A=a'b'", "a'b'"),
        ("A=1\r", "1"),
        ('A="-----BEGIN\r\nabc\r\n-----END"\r', "-----BEGIN\nabc\n-----END"),
        ('A="1"\r', "1"),
        ("A=a=b", "a=b"),
    ],
)
def test_a_value_is_read_by_the_known_rules(line, value):
    assert parse(line) == {"A": value}
    assert parse(f"\ufeff# before\n\n{line}\nB=2\n") == {"A": value, "B": "2"}


def test_a_byte_order_mark_is_not_part_of_the_first_name():
    assert parse("\ufeffA=1") == {"A": "1"}


def test_names_in_small_letters_are_names():
    assert parse("http_proxy=http://proxy:3128") == {"http_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('B=1\nA="secret', "x.env line 2: a quote is opened and not closed."),
        ("A='secret", "x.env line 1: a quote is opened and not closed."),
        ('A="secret" more', "x.env line 1: there is text after the closing quote."),
        ("A='it's'", "x.env line 1: there is text after the closing quote."),
        ("A='1\n2'\nsecret", "x.env line 3: not KEY=value."),
        ("export", "x.env line 1: not KEY=value."),
        (
            "A=secret\rB=1\r",
            "x.env line 1: a carriage return ends no line: end lines with line feeds.",
        ),
    ],
)
def test_a_broken_line_is_refused_with_its_number_and_without_its_text(text, problem):
    with pytest.raises(Refused) as refusal:
        parse(text)
    assert (refusal.value.code, refusal.value.detail) == ("env_line_invalid", problem)


@pytest.mark.parametrize(
    "value",
    ["", "plain", "a b", "#x", "a # b", 'a"b', "it's", "back\\slash\\n", "two\nlines", "$A", "'q'"],
)
def test_what_is_written_is_read_again(value):
    assert parse(env_file.format_assignment("A", value)) == {"A": value}


def test_values_that_may_be_read_differently_are_listed_without_their_text():
    text = (
        "PLAIN=1\nCUT=secret # note\nQUOTED='secret # note'\n"
        'ESCAPED="sec\\nret"\nHASH=$2b$12$secret\nSAFE=\'$2b$12$secret\'\nPATH_LIKE="C:\\\\dir"\n'
        'TWICE=pa$$9secret\nTICKS=`secret`\nQUOTED_TICKS="`secret`"\nRUN=$(secret)\n'
    )
    found = env_file.find_surprises(text, "app.env")
    assert [line.split(": ")[:2] for line in found] == [
        ["app.env line 2", "CUT"],
        ["app.env line 4", "ESCAPED"],
        ["app.env line 5", "HASH"],
        ["app.env line 8", "TWICE"],
        ["app.env line 9", "TICKS"],
        ["app.env line 11", "RUN"],
    ]
    assert "secret" not in "".join(found)


@pytest.mark.parametrize("name", secret_env_files.SHELL_SETTINGS)
@pytest.mark.parametrize(
    "value", ["http://a:b%40@p:3128/?x=1", "a b", "#", "'", '"', "\\n$x", "é;"]
)
def test_the_parser_reads_what_the_installation_writes(name, value):
    assert parse(format_assignment(name, value)) == {name: value}


@pytest.mark.parametrize(
    ("text", "values", "result"),
    [
        ("", {"A": "1"}, "A=1\n"),
        ("# first\nA=1\n\n# last\n", {"B": "2"}, "# first\nA=1\n\n# last\nB=2\n"),
        ("A=1 # why\nB=2", {"A": "x y"}, 'A="x y"\nB=2\n'),
        ("A='1\n2'\nB=2\n", {"A": "3"}, "A=3\nB=2\n"),
        ("B=2\nexport A=1\nC=3\n", {"A": None}, "B=2\nC=3\n"),
        ("A=1\n", {"A": None}, ""),
        ("A=1\n", {"B": None}, "A=1\n"),
        ("B=2\r\nA=1\r\n", {"A": "3"}, "B=2\r\nA=3\n"),
    ],
)
def test_a_changed_variable_keeps_its_place_and_every_other_line(text, values, result):
    assert replace_values(text, values) == result


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20)


@settings(max_examples=100, derandomize=True, database=None, deadline=None)
@given(st.dictionaries(st.sampled_from("ABCD"), VALUES), st.sampled_from("ABCD"), VALUES)
def test_any_value_is_read_as_it_was_set_and_leaves_the_others(before, name, value):
    text = "# by hand\n" + "".join(format_assignment(*item) for item in before.items())
    assert parse(replace_values(text, {name: value})) == {**before, name: value}
    without = {one: kept for one, kept in before.items() if one != name}
    assert parse(replace_values(text, {name: None})) == without
