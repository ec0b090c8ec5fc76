"""The API as a real server: gunicorn on a free port, with the database of the tests."""

import http.client
import os
import subprocess
import sys
from contextlib import contextmanager, suppress

from django.db import connection

from host import config as configuration
from host.deadline import wait_until
from tests.environment import free_port

START_SECONDS = 60
GUNICORN_CONFIG = configuration.HOME / "infra" / "gunicorn.conf.py"


def database_url():
    """Return the URL of the tests' database, for another process."""
    database = connection.settings_dict
    return (
        f"postgresql://{database['USER']}:{database['PASSWORD']}"
        f"@127.0.0.1:{database['PORT']}/{database['NAME']}"
    )


@contextmanager
def api(**environ):
    """Serve the API and yield its port. `environ` is added to its environment."""
    with api_process(**environ) as (port, _):
        yield port


@contextmanager
def api_process(config=GUNICORN_CONFIG, **environ):
    """As `api`, yielding the process of gunicorn's master too."""
    port = free_port()
    argv = [sys.executable, "-m", "gunicorn", "--config", config, "--log-level", "warning"]
    server = subprocess.Popen(
        [*argv, "--bind", f"127.0.0.1:{port}"],
        cwd=configuration.HOME,
        env={**os.environ, "DATABASE_URL": database_url(), **environ},
    )
    try:
        is_healthy = wait_until(lambda: _is_healthy(port), seconds=START_SECONDS, interval=0.05)
        assert is_healthy, "the API does not answer"
        yield port, server
    finally:
        server.terminate()
        server.wait(120)


def _is_healthy(port):
    http_connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with suppress(OSError, http.client.HTTPException):
        http_connection.request("GET", "/health")
        return http_connection.getresponse().status == 200
    return False
