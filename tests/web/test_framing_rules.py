"""Which requests are passed on, with which length and body, and what is answered otherwise."""

import json

import pytest
from django.conf import settings

from web.request_framing import LENGTH_REQUIRED, ONE_HOST, read_chunked_bodies


class Body:
    """A request's body that is read at most once, as from a connection."""

    def __init__(self, body):
        self.body = body

    def read(self, size=None):
        found, self.body = self.body[:size], b""
        return found


def send(body=b"", **environ):
    """Return what the application got, or the status, the fields and the body of the refusal."""
    passed, answers = [], []

    def application(environ, start_response):
        passed.append((environ, environ["wsgi.input"].read()))
        return ["answer"]

    given = {"HTTP_HOST": "a.example", "RAW_URI": "/", "wsgi.input": Body(body), **environ}
    given = {name: value for name, value in given.items() if value is not None}
    answer = read_chunked_bodies(application)(given, lambda *words: answers.append(words))
    if passed:
        assert (answer, answers) == (["answer"], [])
        return passed[0]
    [(status, fields)] = answers
    return status, dict(fields), b"".join(answer)


def assert_refused(found, status, code, detail):
    answered, fields, body = found
    assert answered == status
    assert fields == {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    assert json.loads(body) == {"error": code, "detail": detail}


CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}


def test_a_chunked_request_keeps_its_other_fields():
    environ, body = send(b"{}", **CHUNKED, REQUEST_METHOD="POST")
    assert (environ["CONTENT_LENGTH"], body) == ("2", b"{}")
    assert (environ["REQUEST_METHOD"], environ["HTTP_HOST"]) == ("POST", "a.example")


@pytest.mark.parametrize("more", [-1, 0, 1, 10])
def test_a_chunked_body_is_read_up_to_one_byte_above_the_limit(more):
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    environ, body = send(b"x" * (limit + more), **CHUNKED)
    assert len(body) == int(environ["CONTENT_LENGTH"]) == limit + min(more, 1)


def test_a_length_is_required_where_there_may_be_a_body():
    assert_refused(send(HTTP_TRANSFER_ENCODING="chunked"), *LENGTH_REQUIRED)
    assert_refused(send(REQUEST_METHOD="POST", CONTENT_TYPE="x"), *LENGTH_REQUIRED)
    for passed in (
        {"REQUEST_METHOD": "GET", "CONTENT_TYPE": "x"},
        {"REQUEST_METHOD": "POST"},
        {"CONTENT_TYPE": "x"},
        {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "x", "CONTENT_LENGTH": "1"},
    ):
        assert send(b"x", **passed)[1] == b"x"


@pytest.mark.parametrize(
    ("host", "target", "protocol", "has_one"),
    [
        ("a.example", "/", "HTTP/1.1", True),
        ("a.example", "*", "HTTP/1.1", True),
        ("a.example", "a.example:443", "HTTP/1.1", False),
        ("a.example", "http://a.example/x?y#z", "HTTP/1.1", True),
        ("A.example ", "HTTPS://a.EXAMPLE", "HTTP/1.1", True),
        ("a.example", "http://a.example?x", "HTTP/1.1", True),
        ("a.example", "http://a.example#x", "HTTP/1.1", True),
        ("a.example", "http://b.example/", "HTTP/1.1", False),
        ("a.example", "ftp://a.example/", "HTTP/1.1", False),
        ("a.example", "http:/a.example/", "HTTP/1.1", False),
        (None, "/", "HTTP/1.1", False),
        (None, "/", "HTTP/1.0", True),
        (None, "http://a.example/", "HTTP/1.0", False),
        (None, None, "HTTP/1.0", True),
    ],
)
def test_a_request_names_one_host(host, target, protocol, has_one):
    found = send(b"x", HTTP_HOST=host, RAW_URI=target, SERVER_PROTOCOL=protocol)
    if has_one:
        assert found[1] == b"x"
    else:
        assert_refused(found, "400 Bad Request", "invalid_input", ONE_HOST)
