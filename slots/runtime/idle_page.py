"""The occupant of a free slot: says that it is idle. Standard library only, started with `-I -S`.

    python -I -S slots/runtime/idle_page.py <slot_id> <port>

`/health` and `/api/health` answer 200 with JSON, all else 503 with a page. It is run as a file and
imports nothing of ours, so that it starts in milliseconds and needs no environment.
"""

import json
import socket
import sys
from contextlib import suppress
from pathlib import Path
from string import Template
from threading import Thread

PAGES = Path(__file__).with_name("pages")
HEALTH = (b"/health", b"/healthz", b"/readyz", b"/api/health")
REQUEST_BYTES = 16 * 1024
CLIENT_SECONDS = 2.0
DRAINED_READS = 1000


def page(slot_id: str) -> bytes:
    """Return the page that says the slot is free."""
    text = Template((PAGES / "free.html").read_text())
    return text.substitute(slot_id=slot_id, style=(PAGES / "style.css").read_text()).encode()


def health(slot_id: str) -> bytes:
    """Return what the health paths answer, and nobody else does."""
    return json.dumps({"status": "idle", "slot_id": slot_id}).encode()


def answers(slot_id: str) -> tuple[bytes, bytes]:
    """Return the two whole answers there are: health, and everything else."""
    free = _answer("503 Service Unavailable", "text/html; charset=utf-8", page(slot_id))
    return _answer("200 OK", "application/json", health(slot_id)), free


def _answer(status: str, content_type: str, body: bytes) -> bytes:
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Robots-Tag: noindex",
        "Connection: close",
    ]
    if status.startswith("503"):
        head.append("Retry-After: 5")
    return "\r\n".join([*head, "", ""]).encode() + body


def is_health(request: bytes) -> bool:
    """Say whether the request asks for the health of whoever occupies the slot."""
    words = request.split(b" ", 2)
    return len(words) == 3 and words[1].partition(b"?")[0] in HEALTH


def serve(listener: socket.socket, slot_id: str) -> None:
    """Answer for ever, each client in a thread of its own: a slow one keeps nobody waiting."""
    healthy, free = answers(slot_id)
    while True:
        client, _ = listener.accept()
        Thread(target=_attend, args=(client, healthy, free), daemon=True).start()


def _attend(client: socket.socket, healthy: bytes, free: bytes) -> None:
    with client, suppress(OSError):  # the client is gone, or too slow
        client.settimeout(CLIENT_SECONDS)
        request = _head(client)
        answer = healthy if is_health(request) else free
        if request.startswith(b"HEAD "):
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        client.sendall(answer)
        client.shutdown(socket.SHUT_WR)
        # Closing on a body that was not read would reset the connection under the answer.
        for _ in range(DRAINED_READS):
            if not client.recv(REQUEST_BYTES):
                break


def _head(client: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES:
        received = client.recv(REQUEST_BYTES)
        if not received:
            break
        head += received
    return head


def main(slot_id: str, port: int) -> None:
    """Listen on the slot's port of 127.0.0.1 until SIGTERM, which ends it at once."""
    with socket.create_server(("127.0.0.1", port), backlog=64) as listener:
        serve(listener, slot_id)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
