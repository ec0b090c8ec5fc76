"""The tests' surroundings, loaded before Django's settings: a PostgreSQL of this session's own."""

import atexit
import os
import shutil
import socket
import tempfile
from pathlib import Path

from host import config
from host.postgres.administration import close_to_public
from ops.postgres.embedded_server import Cluster

PASSWORD = "only-for-the-tests-on-loopback"
GIVEN_PORTS: set[int] = set()
FAST = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and that nobody here was given."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in GIVEN_PORTS:
            GIVEN_PORTS.add(port)
            return port


def _end(owner: int, cluster: Cluster, folder: Path) -> None:
    """Stop the cluster and remove what it left; a forked child of a test leaves it alone."""
    if os.getpid() == owner:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _start() -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="oroboros-tests-"))
    folder.chmod(0o755)  # other uids must reach what is theirs below it
    (folder / "var" / "static").mkdir(parents=True)  # collected nowhere: WhiteNoise would warn
    for name in list(os.environ):  # what configures a host must not reach the tests
        if name.startswith(("OROBOROS_", "MERGE_GATE_", "DEPLOY_", "PREVIEW_", "WORKER_")):
            del os.environ[name]
    port = free_port()
    cluster = Cluster(folder / "postgres", port, config.load({}).postgres_user)
    cluster.start(FAST)
    atexit.register(_end, os.getpid(), cluster, folder)
    cluster.ensure_role("oroboros", PASSWORD, "CREATEDB")
    cluster.ensure_role("oroboros_admin", PASSWORD, "CREATEDB", "CREATEROLE")
    cluster.ensure_database("oroboros", "oroboros")
    closed = {"postgres": ["oroboros", "oroboros_admin"], "template1": ["oroboros"]}
    close_to_public(cluster.url("postgres"), closed)
    server = f"127.0.0.1:{port}"
    os.environ.update(
        OROBOROS_ENV_DIR=str(folder / "env"),
        OROBOROS_VAR=str(folder / "var"),
        SECRET_KEY="a-long-value-that-only-the-tests-use-4f1c9a7be2",
        DATABASE_URL=f"postgresql://oroboros:{PASSWORD}@{server}/oroboros",
        PREVIEW_ADMIN_DATABASE_URL=f"postgresql://oroboros_admin:{PASSWORD}@{server}/postgres",
        PREVIEW_BACKEND_DATABASE_URL_TEMPLATE=f"postgresql://{server}/{{db_name}}",
    )
    return cluster


CLUSTER = _start()
