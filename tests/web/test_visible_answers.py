"""Nothing from outside controls a terminal or reorders a page, wherever it is shown."""

import io
import json
import logging
import subprocess
import sys

import pytest
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from hypothesis import given
from hypothesis import strategies as st

from host import config
from host.terminal import VisibleStream
from oroboros.log_lines import LineFormatter
from runs.admin.forms import FreezeForm, NewRunForm
from runs.api.request_bodies import CreateRunRequest, FreezeRequest
from web.visible_answers import TEXT, VisibleJSONRenderer, mark_control_characters

# A window's title, a colour, C1's CSI, bidi controls, a zero-width space, a line separator, a tag.
HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202egpj.exe",
    "\u2066x\u2069",
    "a\u200bb",
    "a\u2028b",
    "\x7f",
    "\x00",
    "\ufeffx",
]
RAW = ("\x1b", "\x07", "\x9b", "\u202e", "\u2066", "\u2069", "\u200b", "\u2028", "\x7f", "\ufeff")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_shows_marks(text):
    page = mark_control_characters(lambda request: HttpResponse(f"<h1>{text}</h1>"))(None)
    shown = page.content.decode()
    assert "&lt;U+" in shown
    assert not any(character in shown for character in RAW)


@given(st.text())
def test_json_has_escapes_for_the_same_data(text):
    raw = VisibleJSONRenderer().render({"title": text}).decode()
    assert json.loads(raw) == {"title": text}
    assert not any(character in raw for character in RAW)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_stream_prints_marks(text):
    stream = io.StringIO()
    VisibleStream(stream).write(f"{text}\n")
    assert not any(character in stream.getvalue() for character in RAW)
    assert stream.getvalue().endswith("\n")


def test_the_scripts_protect_their_streams():
    code = "from ops import __main__ as ops; import sys; sys.argv = ['ops', '\\x1b[2J']; ops.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "<U+001B>" in done.stderr or "\\x1b" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_log_message_is_one_line():
    record = logging.LogRecord("web", logging.INFO, "", 0, "a\nERROR forged \x1b[2J", None, None)
    line = LineFormatter(config.load({})).format(record)
    assert line.endswith("web: a<LF>ERROR forged <U+001B>[2J")


@pytest.mark.parametrize("text", HOSTILE[:-2])
def test_forms_and_the_api_refuse_the_same_text(text):
    with pytest.raises(ValidationError):
        TEXT(text)
    form = NewRunForm({"title": text, "branch": "a"})
    assert "title" in form.errors
    assert "title" in _errors(CreateRunRequest, {"title": text, "branch": "a"})
    assert "reason" in FreezeForm({"reason": text}).errors
    assert "reason" in _errors(FreezeRequest, {"reason": text})


@pytest.mark.parametrize("text", ["Über 漢字 🎉 ❤️ 👩‍💻", "می‌خواهم"])
def test_words_and_emoji_are_accepted(text):
    assert NewRunForm({"title": text, "branch": "a"}).is_valid()
    assert not _errors(CreateRunRequest, {"title": text, "branch": "a"})


def _errors(body, data):
    request = body(data=data)
    request.is_valid()
    return request.errors
