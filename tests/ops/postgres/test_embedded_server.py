"""The embedded PostgreSQL server on a port that it cannot have."""

import shutil
import socket
import tempfile
from pathlib import Path

import pytest

from host import config as configuration
from host.errors import Refused
from ops.postgres.embedded_server import Cluster


def test_a_server_that_gets_only_one_of_the_loopbacks_is_stopped_and_refused():
    # Outside of pytest's folder: the server's user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="oroboros-postgres-"))
    folder.chmod(0o755)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        cluster = Cluster(
            folder / "postgres", taken.getsockname()[1], configuration.load({}).postgres_user
        )
        try:
            with pytest.raises(Refused) as refusal:
                cluster.start("fsync = off\n")
            assert refusal.value.code == "postgres_failed"
            assert not cluster.is_running()
        finally:
            cluster.stop()
            shutil.rmtree(folder, ignore_errors=True)
