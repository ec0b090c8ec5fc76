"""A backend's interim answers (1xx), which the surface passes on, set no cookie of ours."""

import socket
import threading

from slots.runtime import surface
from tests.slots.runtime.surface_server import COMMIT

FIELDS = (
    "Set-Cookie: oroboros_session=x; Path=/\r\nSet-Cookie: =oroboros_session=x\r\n"
    'Set-Cookie: a=1; Domain=a\r\nClear-Site-Data: "cookies"\r\n'
)
ANSWER = (
    f"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n{FIELDS}\r\n"
    f"HTTP/1.1 102 Processing\r\n{FIELDS}\r\n"
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
)


def test_backend_sets_no_cookie_of_ours_in_interim_answers(web, config, slot):
    surface.show_live(config, slot, 17, COMMIT, None)
    with socket.create_server(("127.0.0.1", slot.backend_port)) as server:
        backend = threading.Thread(target=answer_once, args=(server,))
        backend.start()
        with socket.create_connection(("127.0.0.1", web), timeout=60) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = b"".join(iter(lambda: client.recv(65536), b"")).decode("latin-1").lower()
        backend.join()
    assert "103 early hints" in received and "200 ok" in received
    forbidden = ("oroboros_session", "domain=", "clear-site-data:")
    assert [one for one in forbidden if one in received] == []


def answer_once(server):
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(ANSWER.encode("latin-1"))
