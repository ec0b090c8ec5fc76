"""The idle page: the HTTP server on the backend port of a free slot.

    python -I -S slots/runtime/idle_page.py <slot_id> <port>

`/health` and `/api/health` answer 200 with JSON, every other path 503 with a page. Standard library
only: it is run as a file with `-I -S`, so it starts in milliseconds and needs no environment.
"""

import errno
import json
import socket
import sys
from contextlib import suppress
from pathlib import Path
from string import Template
from threading import Thread

PAGES_FOLDER = Path(__file__).with_name("pages")
HEALTH = (b"/health", b"/healthz", b"/readyz", b"/api/health")
REQUEST_BYTES = 16 * 1024
CLIENT_SECONDS = 2.0
MAX_DRAIN_READS = 1000


def render_page(slot_id: str) -> bytes:
    """Return the page that says the slot is free."""
    text = Template((PAGES_FOLDER / "free.html").read_text())
    return text.substitute(slot_id=slot_id, style=(PAGES_FOLDER / "style.css").read_text()).encode()


def render_health(slot_id: str) -> bytes:
    """Return the body of the health paths; the slot's id tells the idle page from other servers."""
    return json.dumps({"status": "idle", "slot_id": slot_id}).encode()


def build_responses(slot_id: str) -> tuple[bytes, bytes]:
    """Return the two complete responses: to health paths, and to every other path."""
    free = _build_response(
        "503 Service Unavailable", "text/html; charset=utf-8", render_page(slot_id)
    )
    return _build_response("200 OK", "application/json", render_health(slot_id)), free


def _build_response(status: str, content_type: str, body: bytes) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Robots-Tag: noindex",
        # The surface removes it, and with it the headers of a run that has just ended.
        "X-Oroboros-Idle: yes",
        "Connection: close",
    ]
    if status.startswith("503"):
        head.append("Retry-After: 5")
    return "\r\n".join([*head, "", ""]).encode() + body


def is_health(request: bytes) -> bool:
    """Return whether the request is for one of the health paths."""
    words = request.split(b" ", 2)
    return len(words) == 3 and words[1].partition(b"?")[0] in HEALTH


def serve(listener: socket.socket, slot_id: str) -> None:
    """Answer until the process ends; each client has a thread, so a slow one delays no other."""
    healthy, free = build_responses(slot_id)
    while True:
        client, _ = listener.accept()
        Thread(target=_handle_client, args=(client, healthy, free), daemon=True).start()


def _handle_client(client: socket.socket, healthy: bytes, free: bytes) -> None:
    with client, suppress(OSError):  # the client has disconnected or is too slow
        client.settimeout(CLIENT_SECONDS)
        request = _read_head(client)
        response = healthy if is_health(request) else free
        if request.startswith(b"HEAD "):
            response = response[: response.index(b"\r\n\r\n") + 4]
        client.sendall(response)
        client.shutdown(socket.SHUT_WR)
        # Closing a connection with unread data resets it, and the client may lose the response.
        for _ in range(MAX_DRAIN_READS):
            if not client.recv(REQUEST_BYTES):
                break


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES:
        received = client.recv(REQUEST_BYTES)
        if not received:
            break
        head += received
    return head


def main(slot_id: str, port: int) -> None:
    """Listen on the slot's port of both loopbacks until SIGTERM, which ends it at once."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        other = _listen_on_ipv6(port)
        if other is not None:
            Thread(target=serve, args=(other, slot_id), daemon=True).start()
        serve(listener, slot_id)


def _listen_on_ipv6(port: int) -> socket.socket | None:
    """Listen on ::1; None if this host has no IPv6. Raises OSError if another program does."""
    try:
        return socket.create_server(("::1", port), family=socket.AF_INET6, backlog=64)
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return None
        raise


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
