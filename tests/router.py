"""The real Caddy as the router in front of an API."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from host import config as configuration
from host.deadline import wait_until
from tests.environment import free_port, is_listening


@contextlib.contextmanager
def running_router(api_port):
    """Run the router; yield its port once it answers."""
    port = free_port()
    caddy = Path(sys.executable).with_name("caddy")
    with tempfile.TemporaryDirectory() as folder:
        environ = {"API_PORT": str(api_port), "ROUTER_PORT": str(port), "HOME": folder}
        environ["PREVIEW_PROTECTION"] = "open"
        environ["ROUTER_ADMIN_SOCKET"] = f"{folder}/admin.sock"
        process = subprocess.Popen(
            [caddy, "run", "--config", "infra/caddy/Caddyfile", "--adapter", "caddyfile"],
            cwd=configuration.HOME,
            env={**os.environ, **environ},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert wait_until(lambda: is_listening(port), seconds=60, interval=0.01)
            yield port
        finally:
            process.terminate()
            process.wait(60)
