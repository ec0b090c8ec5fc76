"""A request is whole exactly where gunicorn's own parser stops reading it, however it is split."""

import itertools

import pytest
from gunicorn.config import Config
from gunicorn.http.parser import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from web.server import request_buffer
from web.server.request_buffer import RequestBuffer

HEAD = b"POST /api/runs?x=1 HTTP/1.1\r\nHost: a\r\n"


def split(data, cuts):
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


def feed(parts):
    buffer = RequestBuffer(0.0)
    for number, part in enumerate(parts):
        buffer.feed(part, float(number))
    return buffer


def chunk(body, extension=b""):
    return b"%x%s\r\n%s\r\n" % (len(body), extension, body)


bodies = st.binary(max_size=40)
with_length = bodies.map(lambda body: HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
chunked = st.tuples(
    st.lists(st.binary(min_size=1, max_size=40).map(chunk), max_size=4).map(b"".join),
    st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0;a=b\r\nX-Trailer: 1\r\n\r\n"]),
).map(lambda parts: HEAD + b"Transfer-Encoding: Chunked\r\n\r\n" + b"".join(parts))
without_body = st.just(HEAD + b"\r\n")


@given(
    st.one_of(with_length, chunked, without_body),
    st.lists(st.integers(0, 300)),
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n"]),
)
def test_a_request_ends_where_the_parser_stops_whatever_its_parts(request, cuts, following):
    parts = split(request, cuts)
    assert all(feed(parts[:count]).whole_bytes is None for count in range(len(parts)))
    buffer = feed([*parts[:-1], parts[-1] + following])
    assert (buffer.whole_bytes, buffer.status, buffer.path) == (len(request), None, b"/api/runs")
    taken, rest = buffer.take(9.0)
    assert (taken, bytes(rest.data)) == (request, following)
    parser = RequestParser(Config(), (), ("127.0.0.1", 1))
    parser.unreader.unread(taken)
    next(parser).body.read()
    assert (parser.finish_body(), parser.unreader.buf.getvalue()) == (True, b"")


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_bytes_are_collected_without_an_error_and_with_a_deadline(data, cuts):
    for start in (b"", HEAD, HEAD + b"Transfer-Encoding: chunked\r\n\r\n"):
        buffer = feed(split(start + data, cuts))
        assert buffer.deadline <= len(data) + 2 * request_buffer.HEAD_SECONDS + len(HEAD)


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: +5",
    ],
)
def test_a_framing_that_the_parser_refuses_is_not_waited_for(fields):
    request = HEAD + fields + b"\r\n\r\n"
    assert feed([request]).whole_bytes == len(request)


CODINGS = st.lists(
    st.sampled_from([b"gzip", b"deflate", b"compress", b"identity", b"chunked", b"x", b""]),
    min_size=1,
    max_size=3,
)


@given(CODINGS, st.sampled_from([b", ", b",", b"\r\nTransfer-Encoding: "]))
def test_a_body_in_another_coding_than_chunks_is_refused(codings, separator):
    """The parser takes `gzip, chunked` for chunks: without its body it would only hang up."""
    request = HEAD + b"Transfer-Encoding: " + separator.join(codings) + b"\r\n\r\n"
    buffer = feed([request, b"0\r\n\r\n"])
    assert (buffer.status is None) == (codings == [b"chunked"])
    assert buffer.status in (None, 501)


def test_what_is_too_large_has_a_status_before_it_has_come():
    large = b"Content-Length: %d\r\n\r\n" % (request_buffer.BODY_BYTES + 1)
    assert feed([HEAD + large]).status == 413
    assert feed([HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffff\r\n"]).status == 413
    assert feed([HEAD, b"X: " + b"a" * request_buffer.HEAD_BYTES]).status == 431


def test_a_head_has_ten_seconds_and_a_body_is_to_keep_its_rate():
    assert feed([b"P"] * 9).deadline == request_buffer.HEAD_SECONDS
    head = HEAD + b"Content-Length: 90000\r\n\r\n"
    assert feed([head]).deadline == request_buffer.BODY_SECONDS
    late = feed([head, b"a" * request_buffer.BYTES_PER_SECOND])
    assert late.deadline == request_buffer.BODY_SECONDS + 1


def test_a_client_that_waits_for_continue_is_found():
    head = HEAD + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    assert feed([head]).awaits_continue
    assert not feed([head, b"{}"]).awaits_continue
