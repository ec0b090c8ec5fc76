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


def make_head(size):
    """Return a whole head of exactly that many bytes."""
    start = b"GET /api/runs HTTP/1.1\r\nX: "
    return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"


# The limits are 64 KiB for a head, 1 MiB for a body, 25 MiB for that of a webhook.
@pytest.mark.parametrize(
    ("size", "status"), [(65_535, None), (65_536, None), (65_537, 431), (65_538, 431)]
)
def test_a_head_has_at_most_64_kib(size, status):
    head = make_head(size)
    buffer = feed([head])
    assert (buffer.status, buffer.whole_bytes) == (status, None if status else size)
    assert feed([head[:1000], head[1000:]]).status == status
    unended = feed([b"a" * (size - 1)])
    assert (unended.status is None) == (size - 1 < 65_536)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        (b"/api/runs", 2**20),
        (b"/hooks", 2**20),
        (b"/api/hooks/", 2**20),
        (b"/api/runs?/hooks/", 2**20),
        (b"/hooks/github", 25 * 2**20),
        (b"/hooks/github?a=b", 25 * 2**20),
    ],
)
def test_a_body_has_at_most_1_mib_and_that_of_a_webhook_25(path, limit):
    start = b"POST " + path + b" HTTP/1.1\r\n"
    for size, status in ((limit - 1, None), (limit, None), (limit + 1, 413)):
        assert feed([start + b"Content-Length: %d\r\n\r\n" % size]).status == status
        # Chunks may have twice that with their sizes and ends: here a line of eight bytes and one.
        line = b"%07x\r\n" % (limit + size - 9 - 2)
        assert feed([start + b"Transfer-Encoding: chunked\r\n\r\n" + line]).status == status


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("size", "is_refused"), [(4095, False), (4096, False), (4097, True)])
@pytest.mark.parametrize("first", [b"", chunk(b"abc")])
def test_the_line_of_a_chunk_has_at_most_4_kib(size, is_refused, first):
    """One that is longer is given to the parser, which refuses it."""
    line = b"5;" + b"a" * (size - 4) + b"\r\n"
    buffer = feed([CHUNKED + first + line])
    assert len(line) == size and buffer.status is None
    assert buffer.whole_bytes == (len(buffer.data) if is_refused else None)
    unended = feed([CHUNKED + first + line[: size - 2] + b"a"])
    assert (unended.whole_bytes is None) == (size - 1 < 4096)


@pytest.mark.parametrize(
    ("size", "status"), [(65_535, None), (65_536, None), (65_537, 431), (65_538, 431)]
)
def test_a_trailer_has_at_most_64_kib(size, status):
    trailer = b"X: " + b"a" * (size - 7) + b"\r\n\r\n"
    buffer = feed([CHUNKED + b"0\r\n" + trailer])
    assert (buffer.status, buffer.whole_bytes) == (status, None if status else len(buffer.data))
    unended = feed([CHUNKED + b"0\r\n" + trailer[: size - 5] + b"aaaa"])
    assert (unended.status is None) == (size - 1 < 65_536)


@pytest.mark.parametrize("size", [b"", b"g", b"-1", b"123456789", b"0x1"])
def test_a_size_of_a_chunk_that_the_parser_refuses_is_not_waited_for(size):
    data = CHUNKED + size + b"\r\n"
    assert feed([data, b"more"]).whole_bytes == len(data)


def test_the_extensions_of_a_chunk_are_passed_over():
    body = CHUNKED + b"5 ;a=b;c=d\r\nhello\r\n0;a;b=0\r\n\r\n"
    assert feed([body]).whole_bytes == len(body)
    assert feed([body[:-1]]).whole_bytes is None


def test_the_first_field_counts_and_the_request_line_is_none():
    assert feed([b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"]).whole_bytes is None
    line = b"Content-Length:9 / HTTP/1.1\r\n\r\n"
    assert feed([line]).whole_bytes == len(line)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"GET /a/b?c=/d HTTP/1.1", b"/a/b"),
        (b"GET /a b HTTP/1.1", b"/a"),
        (b"GET /a", b""),
        (b"", b""),
    ],
)
def test_the_path_is_that_of_the_request_line_without_its_query(line, path):
    assert feed([line + b"\r\nHost: a /x b\r\n\r\n"]).path == path


def test_time_begins_with_the_first_byte_of_each_request():
    buffer = RequestBuffer(0.0)
    buffer.feed(b"", 3.0)
    buffer.feed(b"G", 5.0)
    buffer.feed(b"ET / HTTP/1.1\r\n", 9.0)
    assert (buffer.started_at, buffer.deadline) == (5.0, 15.0)
    buffer.feed(b"Content-Length: 3\r\n\r\nab", 12.0)
    assert buffer.deadline == 22.0 + 2 / 2048
    buffer.feed(b"cd", 13.0)
    following = buffer.take(20.0)[1]
    assert (following.started_at, following.deadline, following.data) == (20.0, 30.0, b"d")
    assert buffer.take(20.0)[0].endswith(b"abc")


def test_a_head_has_ten_seconds_and_a_body_is_to_keep_its_rate():
    assert feed([b"P"] * 9).deadline == request_buffer.HEAD_SECONDS
    head = HEAD + b"Content-Length: 90000\r\n\r\n"
    assert feed([head]).deadline == request_buffer.BODY_SECONDS
    late = feed([head, b"a" * request_buffer.BYTES_PER_SECOND])
    assert late.deadline == request_buffer.BODY_SECONDS + 1


@pytest.mark.parametrize("parts", [[b"\r\n\r\n"], [b"\r", b"\n\r\n"], [b"\r\n\r", b"\n"]])
def test_a_head_without_a_request_line_is_whole_and_left_to_the_parser(parts):
    buffer = feed(parts)
    assert (buffer.whole_bytes, buffer.status, buffer.path) == (4, None, b"")


def test_a_client_that_waits_for_continue_is_found():
    head = HEAD + b"Content-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    assert feed([head]).awaits_continue
    assert not feed([head, b"{}"]).awaits_continue
    assert not feed([head[:-2]]).awaits_continue
    assert not feed([HEAD + b"Content-Length: 2\r\n\r\n"]).awaits_continue
    assert not feed([head.replace(b"100", b"200")]).awaits_continue


@pytest.mark.parametrize(
    ("rest", "is_stray"),
    [(b"", False), (b"GET / HTTP/1.1", False), (b"\r\nGET /", False), (b"\n", False)]
    + [(rest, True) for rest in (b'{"a": 1}', b"4\r\n", b"a=b", b" ", b"\0", b"\xc4")],
)
@pytest.mark.parametrize("request_", [HEAD + b"\r\n", CHUNKED + b"0\r\n\r\n"])
def test_bytes_that_begin_no_request_are_told(request_, rest, is_stray):
    assert feed([request_ + rest]).has_stray_bytes == is_stray
    assert not feed([request_[:-1]]).has_stray_bytes
