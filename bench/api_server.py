"""Runs an API for a benchmark: PostgreSQL from the wheel, and gunicorn, on free ports."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

from host import config  # noqa: E402
from host.deadline import wait_until  # noqa: E402
from ops.postgres.embedded_server import Cluster  # noqa: E402

# Without waiting for the disk: the code is to be measured.
NO_DISK = "fsync = off\nsynchronous_commit = off\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def database(settings: str = "") -> Iterator[str]:
    """Run a cluster in the body of the with statement; yields the URL of its database `oroboros`.

    `settings` are lines of postgresql.conf. Without them it writes to disk as production does.
    """
    folder = Path(tempfile.mkdtemp(prefix="oroboros-bench-"))
    folder.chmod(0o755)  # as root PostgreSQL runs as another user
    cluster = Cluster(folder / "postgres", free_port(), config.load({}).postgres_user)
    cluster.start(settings)
    try:
        cluster.ensure_role("oroboros", "only-for-the-bench", "CREATEDB")
        cluster.ensure_database("oroboros", "oroboros")
        url = cluster.url("oroboros", "oroboros", "only-for-the-bench")
        os.environ.update(
            DATABASE_URL=url,
            OROBOROS_ENV_DIR=str(folder / "env"),
            OROBOROS_VAR=str(folder / "var"),
            SECRET_KEY="a-long-value-that-only-the-bench-uses-93ac51d07e",
            DJANGO_SETTINGS_MODULE="oroboros.settings",
        )
        for command in (["migrate", "-v0", "--run-syncdb"], ["sync_slots"]):
            manage(*command)
        yield url
    finally:
        cluster.stop()
        shutil.rmtree(folder)


def wait_for_listener(port: int) -> None:
    """Wait until a process listens on the port. Raises TimeoutError after 30 s."""

    def is_listening() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    if not wait_until(is_listening, seconds=30, interval=0.01):
        raise TimeoutError(f"nothing listens on port {port}")


def manage(*arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=HOME, check=True)


@contextmanager
def api() -> Iterator[int]:
    """Run the API in the body of the with statement, and yield its port.

    Requests over loopback have the rights of this host's operator.
    """
    port = free_port()
    argv = [
        sys.executable, "-m", "gunicorn", "--config", "infra/gunicorn.conf.py",
        "--bind", f"127.0.0.1:{port}", "--log-level", "warning",
    ]  # fmt: skip
    process = subprocess.Popen(argv, cwd=HOME)
    try:
        wait_for_listener(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def router(api_port: int, **environ: str) -> Iterator[int]:
    """Run the router in front of the API in the body of the with statement, and yield its port.

    `environ` is added to its environment.
    """
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        ports = {"API_PORT": str(api_port), "ROUTER_PORT": str(port)}
        process = subprocess.Popen(
            ["caddy", "run", "--config", "infra/caddy/Caddyfile", "--adapter", "caddyfile"],
            executable=str(HOME / ".venv/bin/caddy"),
            cwd=HOME,
            env={**os.environ, **ports, "ROUTER_ADMIN_SOCKET": f"{folder}/admin.sock", **environ},
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_listener(port)
            yield port
        finally:
            process.terminate()
            process.wait(30)
