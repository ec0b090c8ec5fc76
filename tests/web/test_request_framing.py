"""A request's body has the same effect whatever its framing, through a real server."""

import json
import socket

import pytest
from django.conf import settings

from runs.rules import Status
from tests import service
from tests.factories import RunFactory
from web.request_framing import read_chunked_bodies


def answer(environ):
    """Return the status that the wrapper answers itself, or the length and the body it passes."""
    statuses = []

    def application(environ, start_response):
        return environ.get("CONTENT_LENGTH"), environ["wsgi.input"].read()

    passed = read_chunked_bodies(application)(environ, lambda status, _: statuses.append(status))
    return statuses or passed


class Input:
    def __init__(self, body):
        self.body = body

    def read(self, size=None):
        return self.body[:size]


def test_a_chunked_body_is_read_and_gets_a_length():
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert answer({**environ, "wsgi.input": Input(b"{}")}) == ("2", b"{}")
    large = b"x" * (settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 10)
    length, body = answer({**environ, "wsgi.input": Input(large)})
    assert int(length) == len(body) == settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1


def test_other_requests_are_passed_unchanged():
    assert answer({"CONTENT_LENGTH": "1", "wsgi.input": Input(b"x")}) == ("1", b"x")


def test_a_server_that_does_not_decode_chunks_answers_411():
    environ = {"HTTP_TRANSFER_ENCODING": "gzip, chunked", "wsgi.input": Input(b"2\r\n{}")}
    assert answer(environ) == ["411 Length Required"]


@pytest.mark.django_db(transaction=True)
def test_a_chunked_approval_of_another_commit_is_refused_as_one_with_a_length():
    run = RunFactory(status=Status.PREVIEW_READY)
    body = json.dumps({"commit_sha": "b" * 40}).encode()
    # In two chunks, with an extension and a trailer.
    chunks = b"4;a=b\r\n%s\r\n%x\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n"
    framings = {
        b"Content-Length: %d" % len(body): body,
        b"Transfer-Encoding: chunked": chunks % (body[:4], len(body) - 4, body[4:]),
        b"transfer-encoding: Chunked": chunks % (body[:4], len(body) - 4, body[4:]),
    }
    with service.api() as port:
        for framing, payload in framings.items():
            head = f"POST /api/runs/{run.pk}/approve HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            head += "Connection: close\r\nContent-Type: application/json\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(head.encode() + framing + b"\r\n\r\n" + payload)
                response = b"".join(iter(lambda client=client: client.recv(65536), b""))
            assert response.startswith(b"HTTP/1.1 409"), (framing, response)
            assert b"commit_moved" in response
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY
