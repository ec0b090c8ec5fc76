"""A request's body has the same effect whatever its framing, through a real server."""

import itertools
import json
import re
import socket
from contextlib import suppress

import pytest
from django.conf import settings

from accounts.tokens import create_token
from runs.rules import Status
from tests import service
from tests.factories import RunFactory
from tests.router import running_router
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


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_body_without_a_length_is_refused_and_no_body_needs_none(method):
    request = {"REQUEST_METHOD": method, "wsgi.input": Input(b"")}
    for extra in (
        {"CONTENT_TYPE": "application/json"},
        {"CONTENT_TYPE": "x", "CONTENT_LENGTH": ""},
    ):
        assert answer({**request, **extra}) == ["411 Length Required"]
    assert answer(request) == (None, b"")
    assert answer({**request, "CONTENT_TYPE": ""}) == (None, b"")
    with_length = {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "0"}
    assert answer({**request, **with_length}) == ("0", b"")


def test_a_server_that_does_not_decode_chunks_answers_411():
    environ = {"HTTP_TRANSFER_ENCODING": "gzip, chunked", "wsgi.input": Input(b"2\r\n{}")}
    assert answer(environ) == ["411 Length Required"]


APPROVAL = json.dumps({"commit_sha": "b" * 40}).encode()
LENGTH = b"Content-Length: %d" % len(APPROVAL)
IN_CHUNKS = b"Transfer-Encoding: chunked"
CHUNKS = b"4%%s\r\n%s\r\n%x\r\n%s\r\n0\r\n" % (APPROVAL[:4], len(APPROVAL) - 4, APPROVAL[4:])
CHUNKED = CHUNKS % b"" + b"\r\n"
# Fields and bytes of a request; each says the same, well or badly.
FRAMINGS = {
    "a length": (LENGTH, APPROVAL),
    "chunks": (IN_CHUNKS, CHUNKED),
    "chunks in other letters": (b"transfer-encoding: Chunked", CHUNKED),
    "continue": (LENGTH + b"\r\nExpect: 100-continue", APPROVAL),
    "continue, chunks": (IN_CHUNKS + b"\r\nExpect: 100-continue", CHUNKED),
    "another expectation": (LENGTH + b"\r\nExpect: x", APPROVAL),
    "extensions": (IN_CHUNKS, CHUNKS % b';a="b;c";d=4' + b"\r\n"),
    "a trailer": (IN_CHUNKS, CHUNKS % b"" + b"Content-Length: 0\r\n\r\n"),
    "the length twice": (LENGTH + b"\r\n" + LENGTH, APPROVAL),
    "two lengths": (LENGTH + b"\r\nContent-Length: 0", APPROVAL),
    "two lengths, 0 first": (b"Content-Length: 0\r\n" + LENGTH, APPROVAL),
    "a list of lengths": (LENGTH + b", 0", APPROVAL),
    "a signed length": (LENGTH.replace(b": ", b": +"), APPROVAL),
    "a hexadecimal length": (LENGTH.replace(b": ", b": 0x"), APPROVAL),
    "a length and chunks": (LENGTH + b"\r\n" + IN_CHUNKS, CHUNKED),
    "no length and chunks": (b"Content-Length: 0\r\n" + IN_CHUNKS, CHUNKED),
    "chunks and no length": (IN_CHUNKS + b"\r\nContent-Length: 0", CHUNKED),
    "chunks twice": (IN_CHUNKS + b", chunked", CHUNKED),
    "chunks, identity": (IN_CHUNKS + b", identity", CHUNKED),
    "identity": (LENGTH + b"\r\nTransfer-Encoding: identity", APPROVAL),
    "an unknown coding": (LENGTH + b"\r\nTransfer-Encoding: xchunked", CHUNKED),
    "a coding with a tab": (b"Transfer-Encoding:\tchunked", CHUNKED),
    "a blank before the colon": (b"Transfer-Encoding : chunked", CHUNKED),
    "a blank before the length": (LENGTH.replace(b":", b" :"), APPROVAL),
    "underscores": (b"Content_Length: 0\r\nTransfer_Encoding: x\r\n" + LENGTH, APPROVAL),
    "only underscores": (LENGTH.replace(b"-", b"_"), APPROVAL),
    "a folded coding": (b"Transfer-Encoding:\r\n chunked", CHUNKED),
    "a folded length": (LENGTH.replace(b": ", b":\r\n "), APPROVAL),
    "a folded field": (b"X-Any: a\r\n Content-Length: 0\r\n" + LENGTH, APPROVAL),
    "lines without a return": (b"X-Any: a\n" + LENGTH, APPROVAL),
    "a return alone": (b"X-Any: a\r" + LENGTH, APPROVAL),
    "chunks without returns": (IN_CHUNKS, CHUNKED.replace(b"\r\n", b"\n")),
    "a large chunk": (IN_CHUNKS, b"f" * 17 + CHUNKED),
    "a chunk of 2^64": (IN_CHUNKS, b"1" + b"0" * 16 + b"\r\n" + CHUNKED),
    "a signed chunk": (IN_CHUNKS, b"+" + CHUNKED),
    "a hexadecimal chunk": (IN_CHUNKS, b"0x" + CHUNKED),
    "a chunk with a blank": (IN_CHUNKS, b" " + CHUNKED),
    "an empty first chunk": (IN_CHUNKS, b"0\r\n\r\n" + CHUNKED),
    "no length": (b"X-Any: a", APPROVAL),
    "an empty length": (b"Content-Length:", APPROVAL),
    "a length of one connection": (LENGTH + b"\r\nConnection: content-length", APPROVAL),
    "another method": (LENGTH + b"\r\nX-HTTP-Method-Override: GET", APPROVAL),
    "a compressed body": (LENGTH + b"\r\nContent-Encoding: gzip", APPROVAL),
}


# Sent with another version and with an absolute target too.
OTHER_FORMS = ("a length", "chunks", "continue", "no length", "a length and chunks")
# 502 is the router's, which has begun to send the request on.
REFUSALS = (400, 411, 413, 417, 501, 502)


def exchange(port, request):
    """Send the bytes; return what is answered until it is whole, or the connection ends."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request)
        with suppress(TimeoutError, ConnectionError):
            while part := client.recv(65536):
                answer = (answer + part).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
                if is_whole(answer):
                    break
    return answer


def is_whole(answer):
    """Whether an answer has all of its body, by its Content-Length."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return bool(end) and length is not None and len(body) >= int(length[1])


def list_requests(run, host, fields):
    """Return the name and the bytes of an approval in each framing, with `fields` added."""
    path = f"/api/runs/{run.pk}/approve"
    lines = {"": f"{path} HTTP/1.1", "1.0, ": f"{path} HTTP/1.0"}
    lines["absolute, "] = f"http://{host}{path} HTTP/1.1"
    for (form, line), (name, (framing, body)) in itertools.product(lines.items(), FRAMINGS.items()):
        if not form or name in OTHER_FORMS:
            head = f"POST {line}\r\nHost: {host}\r\nConnection: close\r\n{fields}"
            yield form + name, head.encode() + framing + b"\r\n\r\n" + body


@pytest.mark.django_db(transaction=True)
def test_no_framing_makes_an_approval_of_another_commit_one_of_any_commit():
    """Well or badly framed, of the shell and of a token: it is read whole, or refused."""
    run = RunFactory(status=Status.PREVIEW_READY)
    secret = create_token("ci", ["view", "approve"], created_by="ann")
    json_type, token = "Content-Type: application/json\r\n", f"Authorization: Bearer {secret}\r\n"
    found = {}
    with service.api() as port, running_router(port) as router:
        for target, host, fields in (
            (port, f"127.0.0.1:{port}", json_type),
            (router, "api.localhost", json_type + token),
        ):
            for name, request in list_requests(run, host, fields):
                answer = exchange(target, request)
                if b"commit_moved" in answer:
                    found[target == port, name] = "read"
                elif answer and int(answer.split()[1]) in REFUSALS:
                    found[target == port, name] = "refused"
                else:
                    found[target == port, name] = answer
    assert {name: one for name, one in found.items() if one not in ("read", "refused")} == {}
    for name in ("a length", "chunks", "continue", "continue, chunks", "extensions"):
        assert found[True, name] == found[False, name] == "read", name
    run.refresh_from_db()
    assert run.status == Status.PREVIEW_READY
