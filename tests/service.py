"""The API as it is served: gunicorn on a free port, on the tests' database."""

import http.client
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

from django.db import connection

from host import config as configuration
from tests.environment import free_port

START_SECONDS = 60


def database_url():
    """Return where the tests' database is, for a process of its own."""
    database = connection.settings_dict
    return (
        f"postgresql://{database['USER']}:{database['PASSWORD']}"
        f"@127.0.0.1:{database['PORT']}/{database['NAME']}"
    )


@contextmanager
def api(**environ):
    """Serve the API while the body lasts; yields its port. `environ` is more of its environment."""
    port = free_port()
    config = configuration.HOME / "infra" / "gunicorn.conf.py"
    argv = [sys.executable, "-m", "gunicorn", "--config", config, "--log-level", "warning"]
    server = subprocess.Popen(
        [*argv, "--bind", f"127.0.0.1:{port}"],
        cwd=configuration.HOME,
        env={**os.environ, "DATABASE_URL": database_url(), **environ},
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_well(port):
            assert time.monotonic() < deadline, "the API does not answer"
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _is_well(port):
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with suppress(OSError):
        link.request("GET", "/health")
        return link.getresponse().status == 200
    return False
