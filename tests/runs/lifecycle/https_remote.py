"""A git server over https with a user, a password and a certificate of its own."""

import base64
import os
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

USER, PASSWORD = "ci", "secret-token"
AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CERTIFICATE = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
CERTIFICATE += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]


class Handler(BaseHTTPRequestHandler):
    """Answers by git's own CGI program: see git-http-backend(1)."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers["Authorization"] != AUTHORIZATION:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        path, _, query = self.path.partition("?")
        env = {
            "PATH": os.defpath,
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "REMOTE_USER": USER,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers["Content-Type"] or "",
            "CONTENT_LENGTH": self.headers["Content-Length"] or "0",
            "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
            # The repository may belong to another user than the one who runs the test.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        body = self.rfile.read(int(env["CONTENT_LENGTH"]))
        argv = ["git", "http-backend"]
        answer = subprocess.run(argv, env=env, input=body, capture_output=True).stdout
        headers, _, content = answer.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in headers.decode().splitlines())
        self.send_response(int(lines.pop("Status", "200").split()[0]))
        for name, value in {**lines, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self):
        self.do_GET()

    def log_message(self, *arguments):
        pass


@contextmanager
def serve(root, folder, port=0):
    """Serve the repositories below `root`; yield the address and the file of the certificate.

    `folder` is for the certificate. Without a `port` any free one is used.
    """
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv = [*CERTIFICATE, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.root = root
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}", certificate
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    with serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])):
        threading.Event().wait()
