"""A backend for tests: it answers with the request as JSON, streams, and upgrades."""

import json
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = "backend"

    def do_GET(self):
        if self.headers.get("Upgrade") == "websocket":
            return self.upgrade()
        if self.path.startswith("/api/stream"):
            return self.stream()
        length = int(self.headers.get("Content-Length") or 0)
        if self.path in self.hanging_paths:
            self.server.go_on.wait(600)
        request = {
            "name": self.name,
            "path": self.path,
            "method": self.command,
            "headers": [[key.lower(), value] for key, value in self.headers.items()],
            "body": self.rfile.read(length).decode(),
        }
        self.requests.append(request)
        body = json.dumps(request).encode()
        self.send_response(self.statuses.get(self.path, 200))
        for value in self.set_cookies:
            self.send_header("Set-Cookie", value)
        for key, value in self.more_headers:
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    do_POST = do_OPTIONS = do_GET  # noqa: N815

    set_cookies = ()
    upgrade_headers = ""
    more_headers = ()
    statuses = {}
    hanging_paths = ()

    def stream(self):
        """Send one line, and the second one when the test sets `go_on`."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in (b"first\n", b"second\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            self.server.go_on.wait(600)
        self.wfile.write(b"0\r\n\r\n")

    def upgrade(self):
        self.wfile.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + self.upgrade_headers.encode("latin-1")
            + b"\r\n"
        )
        self.wfile.flush()
        self.wfile.write(b"echo " + self.rfile.read(5))  # a proxy may send single bytes
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def echo(port, **attributes):
    """Serve `Echo` on the port; `attributes` replace those of the class. Yields the server.

    The server's `requests` are those received, in order.
    """
    ThreadingHTTPServer.allow_reuse_address = True
    handler = type("Handler", (Echo,), {"requests": [], **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.requests = handler.requests
    server.daemon_threads = True
    server.go_on = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dropping_server(port):
    """Reset each connection once the path of its request has come; yields the set of the paths."""
    paths = set()

    def drop(listener):
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError, IndexError):
                    client.settimeout(10)
                    paths.add(client.recv(1000).split()[1].decode())
                    # A reset leaves no connection in TIME_WAIT.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with socket.create_server(("127.0.0.1", port)) as listener:
        thread = threading.Thread(target=drop, args=(listener,))
        thread.start()
        try:
            yield paths
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
