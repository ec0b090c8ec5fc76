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
        ("DEBUG=1 python x.py", "set it under [env]"),
        ("PYTHONPATH=src python x.py", "[env] may not set PYTHONPATH: put the whole line into"),
        ("NODE_OPTIONS=--require=x node x.js", "./bin/web"),
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
        ("$$PORT $$$PORT $${PORT}", "$PORT $8101 ${PORT}"),
    ],
)
def test_substitution_is_not_repeated_on_its_result(text, filled):
    assert (
        command_line.substitute_variables(text, {"PORT": "8101", "INJECT": "$PORT; rm"}) == filled
    )


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("x '$2b$12$abc'", "$2b$12$abc"),
        ("x \\$PORT", "$PORT"),
        ('x "\\$PORT"', "$PORT"),
        ("x '$'PORT", "$PORT"),
        ("x '$$PORT'", "$$PORT"),
        ('x "$PORT"', "8101"),
        ("x 'it'\\''s $5'", "it's $5"),
        ("x '\\'", "\\"),
    ],
)
def test_a_dollar_that_a_shell_would_keep_is_kept(line, last):
    words = command_line.parse_command_line(line)
    assert command_line.substitute_variables(words[-1], {"PORT": "8101"}) == last
