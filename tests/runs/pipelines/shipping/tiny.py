"""An application that ships in well under a second: standard library only, no build."""

from contextlib import contextmanager

SERVER = """\
import os
import socket

server = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=64)
body = os.environ.get("OROBOROS_COMMIT", "").encode()
head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\nConnection: close\\r\\n\\r\\n" % len(body)
while True:
    link, _ = server.accept()
    link.settimeout(5)
    try:
        if link.recv(65536):
            link.sendall(head + body)
    except OSError:
        pass
    link.close()
"""
# What makes its `release:` fail on production, and nowhere else, while `failing_release` runs. The
# file is in its home: it sees no other folder of the tests.
RELEASE = """\
import os
import sys

is_broken = os.path.exists(os.path.join(os.environ["HOME"], "no-release"))
if is_broken and "app_production" in os.environ["DATABASE_URL"]:
    sys.exit("the migration of production fails")
"""
# An operator's health check that fails once after the file was created.
HEALTH = "test ! -e {folder}/unhealthy || {{ rm {folder}/unhealthy; exit 1; }}\n"
# A hook of the remote's that notes each push that moved main.
COUNT = (
    'while read old new ref; do [ "$ref" != refs/heads/main ] || echo $new >> {folder}/pushes; done'
)


@contextmanager
def failing_release(config):
    """Have `release:` fail on production while the block runs."""
    cause = config.var / "app" / "no-release"
    cause.touch()
    try:
        yield
    finally:
        cause.unlink()


def files(folder):
    """Return the application's files; `folder`, of the tests, is in none of them."""
    return {
        "server.py": SERVER,
        "release.py": RELEASE,
        "Procfile": "web: python server.py\nrelease: python release.py\n",
        "oroboros.toml": '[checks]\nquick = "true"\n',
    }
