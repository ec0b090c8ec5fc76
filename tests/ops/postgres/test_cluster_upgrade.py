"""The embedded cluster on each server of this host, and its way to a newer one."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from host import config as configuration
from host.errors import Refused
from host.postgres.programs import server_programs
from ops.postgres import cluster_upgrade
from ops.postgres.embedded_server import Cluster
from tests.environment import FAST, find_wheel, free_port

SERVERS = server_programs.find_servers()
OFTEN_USED = ("uuid-ossp", "pgcrypto", "citext", "hstore", "pg_trgm", "unaccent")


@pytest.fixture
def make_cluster():
    """Return a function that starts a cluster of a server; it is stopped and removed afterwards."""
    # Outside of pytest's folder: the server's user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="oroboros-postgres-"))
    folder.chmod(0o755)
    made = []

    def make(server):
        user = configuration.load({}).postgres_user
        cluster = Cluster(folder / "postgres", free_port(), user, server)
        made.append(cluster)
        cluster.start(FAST)
        return cluster

    yield make
    for cluster in made:
        cluster.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("server", SERVERS, ids=lambda one: f"{one.version}-{one.is_wheel}")
def test_the_owner_of_a_database_can_create_its_servers_extensions(make_cluster, server):
    cluster = make_cluster(server)
    cluster.ensure_role("app", "secret")
    cluster.ensure_database("app", "app")
    found = server.list_extensions()
    names = [name for name in OFTEN_USED if name in found]
    # Debian's package has all of contrib; the wheel is built without OpenSSL and libuuid.
    assert len(names) == (6 if server.folder.is_relative_to("/usr/lib/postgresql") else 4)
    with psycopg.connect(cluster.url("app", "app", "secret"), autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE EXTENSION "{name}"')
        version = connection.info.server_version // 10000
    assert version == server.version


@pytest.mark.full
def test_a_cluster_moves_to_a_newer_server_with_its_roles_and_rows(make_cluster):
    cluster = make_cluster(find_wheel())
    cluster.ensure_role("app", "secret", "CREATEDB", "CREATEROLE")
    cluster.ensure_database("app", "app")
    with psycopg.connect(cluster.url("app", "app", "secret")) as connection:
        connection.execute("CREATE EXTENSION citext")
        connection.execute("CREATE TABLE note (text citext)")
        connection.execute("INSERT INTO note VALUES ('kept')")
    newer = replace(find_wheel(), version=find_wheel().version + 1)
    with pytest.raises(Refused, match=r"runtime-down\.sh"):
        move(cluster, newer)
    cluster.stop()
    sentence = move(cluster, newer)
    [kept] = cluster.folder.parent.glob("postgres-*")
    assert str(kept) in sentence
    assert {path.name for path in cluster.folder.parent.iterdir()} == {"postgres", kept.name}
    cluster.start()
    with psycopg.connect(cluster.url("app", "app", "secret")) as connection:
        assert connection.execute("SELECT text FROM note WHERE text = 'KEPT'").fetchone() == (
            "kept",
        )


@pytest.mark.full
def test_a_failed_move_leaves_the_cluster_as_it_was(make_cluster, tmp_path):
    cluster = make_cluster(find_wheel())
    cluster.stop()
    broken = tmp_path / "bin"
    shutil.copytree(find_wheel().folder, broken, symlinks=True)
    (broken / "psql").write_text("#!/bin/sh\necho no server here >&2\nexit 3\n")
    tmp_path.chmod(0o755)
    with pytest.raises(Refused):
        move(cluster, server_programs.Programs(99, broken, is_wheel=True))
    assert not list(cluster.folder.parent.glob("postgres-*"))
    cluster.start()
    assert cluster.is_running()


def test_a_cluster_of_the_newest_server_has_nothing_to_upgrade(tmp_path):
    cluster = Cluster(tmp_path, free_port(), None, find_wheel())
    cluster.data.mkdir()
    (cluster.data / "PG_VERSION").write_text("18\n")
    with pytest.raises(Refused) as refusal:
        move(cluster, find_wheel())
    assert refusal.value.code == "nothing_to_upgrade"


def move(cluster, newest):
    """Move the cluster on a host whose only server for a new cluster is `newest`."""
    return cluster_upgrade.upgrade_cluster(cluster, newest)
