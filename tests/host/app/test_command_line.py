"""Splitting command lines without a shell, and filling in variables."""

import re

import pytest

from host.app import command_line


@pytest.mark.parametrize(
    ("line", "argv"),
    [
        ("gunicorn a.wsgi --bind 0.0.0.0:$PORT", ("gunicorn", "a.wsgi", "--bind", "0.0.0.0:$PORT")),
        ("exec python 'two words' \"a|b\"", ("python", "two words", "a|b")),
        ("python -c\\ x", ("python", "-c x")),
        ("uvicorn app:app --port ${PORT:-8000}", ("uvicorn", "app:app", "--port", "${PORT:-8000}")),
        ("echo 'a;b' '$(c)'", ("echo", "a;b", "$(c)")),
    ],
)
def test_a_command_line_is_split_without_a_shell(line, argv):
    assert command_line.parse_command_line(line) == argv


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("python manage.py migrate && python manage.py seed", "./bin/release"),
        ("a | b", "./bin/release"),
        ("a; b", "./bin/release"),
        ("a > b", "./bin/release"),
        ("a `b`", "./bin/release"),
        ('a "$(b)"', "./bin/release"),
        ('a "`b`"', "./bin/release"),
        ("a $(b)", "./bin/release"),
        ("(a)", "./bin/release"),
        ("a &", "./bin/release"),
        ("DEBUG=1 python x.py", "[env]"),
        ("cd app", "directory"),
        ("python 'x", "quotation"),
        ("", "no command"),
        ("exec", "no command"),
        ("'a b' c", "own string"),
    ],
)
def test_a_line_that_needs_a_shell_is_refused_with_a_hint(line, hint):
    with pytest.raises(command_line.CommandLineInvalid, match=re.escape(hint)):
        command_line.parse_command_line(line)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("$PORT", "8101"),
        ("0.0.0.0:${PORT}", "0.0.0.0:8101"),
        ("${PORT:-1}", "8101"),
        ("${NONE:-1}", "1"),
        ("${NONE-1}", "1"),
        ("[$NONE]", "[]"),
        ("$5 $ ${} ${5}", "$5 $ ${} ${5}"),
        ("${INJECT}", "$PORT; rm"),
    ],
)
def test_substitution_is_not_repeated_on_its_result(text, filled):
    assert (
        command_line.substitute_variables(text, {"PORT": "8101", "INJECT": "$PORT; rm"}) == filled
    )
