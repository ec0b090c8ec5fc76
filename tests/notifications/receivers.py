"""Receivers on loopback: web servers and a mail server that keep what they are sent."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult

from tests.environment import free_port


class Receiver:
    """A web server: `requests` are (path, headers, body), `answers` what the next ones get.

    An answer is a status, headers, and a text if there is one.
    """

    def __init__(self):
        self.requests, self.answers = [], []
        handler = type("Handler", (_Handler,), {"receiver": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self):
        return self.server.server_port

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/a-token-in-the-path"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.receiver.requests.append((self.path, dict(self.headers), body))
        answers = self.receiver.answers
        status, headers, *text = answers.pop(0) if answers else (204, {})
        raw = "".join(text).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = handle_request  # noqa: N815

    def log_message(self, format, *args):
        """Log nothing."""


@contextmanager
def receiving():
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


class Mailbox:
    """A mail server's handler: `mails` are those that it took."""

    def __init__(self):
        self.mails, self.refusal = [], ""

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.mails.append(envelope)
        return "250 OK"


@contextmanager
def receiving_mail(passwords=None):
    """Yield a mail server's box and port; with passwords by user it asks for one."""
    box, port = Mailbox(), free_port()

    def authenticate(server, session, envelope, mechanism, data):
        is_right = passwords.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=is_right, handled=False)

    asks = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    more = asks if passwords else {}
    controller = Controller(box, hostname="127.0.0.1", port=port, ready_timeout=60.0, **more)
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()
