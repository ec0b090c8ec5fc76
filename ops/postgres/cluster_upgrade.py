"""Moves the embedded cluster to a newer version of PostgreSQL: by a dump, into a new cluster."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

from host.errors import Refused
from host.files import ownership
from host.postgres import client_programs
from host.postgres.programs import server_programs
from host.postgres.programs.server_programs import Programs
from host.process import runner
from ops import progress
from ops.postgres.embedded_server import Cluster

DUMP_SECONDS = 3600.0
LOG_CHARACTERS = 2000
# The new cluster has its superuser already.
SKIPPED_LINES = ("CREATE ROLE postgres;\n",)


def upgrade_cluster(cluster: Cluster, newest: Programs | None = None) -> str:
    """Move the cluster to `newest`, by default what a new one would have; returns a sentence.

    The old cluster stays beside the new one. Templates of previews are left out: they are built
    again. Raises Refused `nothing_to_upgrade`, `postgres_runs`, `postgres_missing`,
    `postgres_failed`, `upgrade_failed`; then the old cluster is as it was.
    """
    newest = newest or server_programs.choose_for_new_cluster(server_programs.find_servers())
    _check_upgrade(cluster, newest)
    fresh = replace(cluster, folder=cluster.folder.with_name("postgres.new"), server=newest)
    # The new cluster's server reads none of it: the dump is ours.
    dump = cluster.folder.with_name("postgres.dump")
    ownership.delete_tree(fresh.folder)
    old_version = cluster.programs.version
    try:
        with progress.step(f"Reading the databases of PostgreSQL {old_version}"):
            _dump(cluster, newest, dump)
        with progress.step(f"Writing them to PostgreSQL {newest.version}"):
            _restore(cluster, fresh, dump)
    finally:
        dump.unlink(missing_ok=True)
    kept = cluster.folder.with_name(f"postgres-{old_version}-{time.strftime('%Y%m%d%H%M%S')}")
    cluster.folder.rename(kept)
    fresh.folder.rename(cluster.folder)
    return (
        f"The cluster is of PostgreSQL {newest.version} now. Start it with "
        f"./scripts/runtime-up.sh; the old one is kept in {kept}: delete it once all is well."
    )


def _check_upgrade(cluster: Cluster, newest: Programs) -> None:
    if not (cluster.data / "PG_VERSION").exists():
        detail = "There is no embedded cluster: ./scripts/quickstart.sh makes one."
        raise Refused("nothing_to_upgrade", detail)
    present = cluster.programs.version
    if newest.version <= present:
        raise Refused(
            "nothing_to_upgrade",
            f"The cluster is of PostgreSQL {present}, and a new one here would be of "
            f"{newest.version} ({newest.folder}).",
        )
    if cluster.is_running():
        raise Refused("postgres_runs", "Stop the stack first: ./scripts/runtime-down.sh.")


def _dump(cluster: Cluster, newest: Programs, dump: Path) -> None:
    cluster.start()
    try:
        # As PostgreSQL's documentation advises: by the newer version's program.
        argv = [str(newest.tool("pg_dumpall")), "--file", str(dump)]
        dump.touch(mode=0o600)
        _run(argv, cluster, dump.with_suffix(".log"))
    finally:
        cluster.stop()


def _restore(cluster: Cluster, fresh: Cluster, dump: Path) -> None:
    fresh.folder.mkdir(mode=0o711, parents=True)
    shutil.copy2(cluster.folder / "superuser.password", fresh.folder / "superuser.password")
    lines = dump.with_suffix(".sql")
    try:
        _filter(dump, lines)
        fresh.start()
        try:
            argv = [str(fresh.programs.tool("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1"]
            _run([*argv, "-f", str(lines)], fresh, dump.with_suffix(".log"))
        finally:
            fresh.stop()
    finally:
        lines.unlink(missing_ok=True)


def _filter(dump: Path, lines: Path) -> None:
    """Copy the dump without the lines that a new cluster would refuse."""
    with (
        dump.open(encoding="utf-8", newline="") as source,
        os.fdopen(os.open(lines, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target,
    ):
        target.writelines(line for line in source if line not in SKIPPED_LINES)


def _run(argv: list[str], cluster: Cluster, log: Path) -> None:
    """Run a client program as the cluster's superuser. Raises Refused `upgrade_failed`."""
    env = client_programs.libpq_environment(cluster.url("postgres"))
    outcome = runner.run(argv, cwd=cluster.folder, log=log, timeout=DUMP_SECONDS, env=env)
    if outcome.exit_code != 0:
        text = log.read_text(errors="replace")[-LOG_CHARACTERS:].strip()
        raise Refused("upgrade_failed", f"{Path(argv[0]).name} failed: {text}")
    log.unlink(missing_ok=True)
