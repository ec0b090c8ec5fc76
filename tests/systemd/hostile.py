"""A hostile branch's backend: it runs any shell command that a client posts, in its own unit.

Its answers try to take over, and to end, a session of the admin.
"""

import os
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COOKIES = (
    "mine=1; Path=/",
    "oroboros_session=stolen; Path=/",
    "__Host-oroboros_session=stolen; Secure; Path=/",
    "\xa0oroboros_session=stolen; Path=/",
    "=oroboros_session=stolen",
    "theirs=1; Domain=example.com",
)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.respond(200, b"ok")

    def do_POST(self):
        command = self.rfile.read(int(self.headers["Content-Length"])).decode()
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
        self.respond(200 if done.returncode == 0 else 500, done.stdout + done.stderr)

    def respond(self, status, body):
        self.send_response(status)
        for cookie in COOKIES:
            self.send_header("Set-Cookie", cookie)
        self.send_header("Clear-Site-Data", '"cookies"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
