"""The backend's server: `python -m guestbook` with PORT and DATABASE_URL.

SIGTERM keeps its default meaning, so it ends the server at once.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import psycopg

from guestbook.app import Answer, respond
from guestbook.store import Store

BODY_BYTES = 16 * 1024
CLIENT_SECONDS = 30


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = CLIENT_SECONDS
    book: Store

    def do_GET(self) -> None:
        self._send(self._answer(b""))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES:
            self.close_connection = True  # the body is not read
            self._send(Answer(413, {"error": "That is too long, or of no stated length."}))
            return
        self._send(self._answer(self.rfile.read(int(length))))

    def _answer(self, body: bytes) -> Answer:
        method = "GET" if self.command == "HEAD" else self.command
        try:
            return respond(self.book, method, urlsplit(self.path).path, body)
        except psycopg.Error as error:
            print(f"database: {error}", file=sys.stderr, flush=True)
            return Answer(503, {"error": "The database does not answer."})

    def _send(self, answer: Answer) -> None:
        raw = json.dumps(answer.body, ensure_ascii=False).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.path not in ("/health", "/api/health"):
            super().log_request(code, size)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    Handler.book = Store()
    port = int(os.environ["PORT"])
    with Server(("127.0.0.1", port), Handler) as server:
        print(f"The guestbook is open on port {port}.", file=sys.stderr, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
