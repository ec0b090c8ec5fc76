"""A request that names two hosts, none, or another one is answered by neither server."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import service
from tests.router import running_router
from web.request_framing import read_chunked_bodies

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/slots"
NAMES = st.sampled_from(["localhost", "127.0.0.1:8000", "[::1]", "evil.test", "evil.test:80"])
# What follows the request line, with the host's own name in place of {own}; all are another host,
# several, or none.
FIELDS = (
    "",
    "Host:",
    "Host:  ",
    "Host: evil.test",
    "Host: {own}\r\nHost: evil.test",
    "Host: evil.test\r\nHost: {own}",
    "Host: {own}\r\nhost: {own}",
    "Host: {own}, evil.test",
    "Host: {own}\r\n evil.test",
    "Host: evil.test@{own}",
    "Host: {own}@evil.test",
    "Host: {own}/evil",
    "Host: {own}?evil",
    "Host: {own}#evil",
    "Host: {own}\\evil",
    "Host: {own}\0",
    "Host: {own}..",
    "Host: evil {own}",
    "Host: [::1",
    "Host: [::1%25lo]",
    "Host: [::ffff:127.0.0.1]",
    "Host: 2130706433",
    "Host: 127.1",
    "Host : {own}",
    "Ho_st: {own}",
    "Host: evil.test\r\nX-Forwarded-Host: {own}",
    "Host: evil.test\r\nForwarded: host={own}",
    "Host: evil.test\r\nHTTP_HOST: {own}",
)
TARGETS = ("http://evil.test{path}", "http://{own}.evil.test{path}")


@given(NAMES, NAMES, st.sampled_from(["http", "HTTPS", "ftp"]), st.sampled_from(["/x", "", "?x"]))
def test_a_whole_url_is_taken_if_it_names_the_host_of_the_field(target, field, scheme, path):
    environ = {"HTTP_HOST": field, "RAW_URI": f"{scheme}://{target}{path}"}
    statuses = []
    application = read_chunked_bodies(lambda environ, start_response: [b"taken"])
    answer = application(environ, lambda status, _: statuses.append(status))
    is_taken = target == field and scheme != "ftp"
    assert statuses == ([] if is_taken else ["400 Bad Request"])
    assert (answer == [b"taken"]) == is_taken


def send(port, target, fields):
    """Send a request; return the status of the answer."""
    request = f"GET {target} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(request.replace("\r\n\r\nConnection", "\r\nConnection").encode())
        answer = b""
        while part := client.recv(65536):
            answer += part
    return int(answer.split(maxsplit=2)[1])


def test_no_request_that_names_another_host_reads_the_api():
    with service.api() as port, running_router(port) as router:
        for target, own, good in ((port, f"127.0.0.1:{port}", 200), (router, "api.localhost", 401)):
            assert send(target, PATH, f"Host: {own}") == good
            assert send(target, f"http://{own}{PATH}", f"Host: {own}") == good
            requests = [(PATH, fields) for fields in FIELDS]
            requests += [(whole, "Host: {own}") for whole in TARGETS]
            for line, fields in requests:
                words = [word.replace("{own}", own) for word in (line, fields)]
                status = send(target, words[0].replace("{path}", PATH), words[1])
                assert status in (400, 404), (own, line, fields)
