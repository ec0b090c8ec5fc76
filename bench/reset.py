"""A reset of a preview's database beside the bare commands, on the same server.

    python bench/reset.py [--mb 1024] [--times 3]

The floor is `dropdb` and `createdb --template` by hand, with the strategy that is faster for this
size and with PostgreSQL's own; `reset` is what scripts/preview-db-reset.sh does, without a backend
to stop, a migration to run, or a spare copy of the template to take.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

ROWS_PER_MB = 1024
RATIO = 1.1


def main() -> bool:
    """Measure, print, and say whether a reset is within its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1024, help="size of the database")
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    from tests import environment  # starts a PostgreSQL of our own

    with tempfile.TemporaryDirectory(dir=environment.CLUSTER.folder.parent) as folder:
        Path(folder).chmod(0o755)
        return measure(Path(folder), options.mb, options.times)


def measure(folder: Path, size: int, times: int) -> bool:
    import psycopg

    from host import config as configuration
    from host.postgres import guard
    from host.postgres.administration import Admin
    from slots.runtime import backend, migrate
    from slots.runtime.spec import Spec
    from tests.environment import CLUSTER, free_port

    loaded = configuration.load({**os.environ, "OROBOROS_VAR": str(folder / "var")})
    slot = replace(loaded.slots[0], backend_port=free_port())
    config = replace(loaded, slots=(slot,))
    admin, template = Admin(config), guard.template_name("0" * 40)
    admin.ensure_role(guard.TEMPLATE_ROLE)
    admin.create(template, guard.TEMPLATE_ROLE)
    with psycopg.connect(CLUSTER.url(template), autocommit=True) as connection:
        connection.execute("CREATE TABLE filler (id bigint, text text STORAGE PLAIN)")
        connection.execute(
            "INSERT INTO filler SELECT n, repeat('x', 1000) FROM generate_series(1, %s) n",
            [size * ROWS_PER_MB],
        )
        connection.execute(f"ALTER TABLE filler OWNER TO {guard.TEMPLATE_ROLE}")
    admin.seal_template(template)
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    spec = Spec(
        run_id="bench", commit="0" * 40, fence=1, argv=("true",), cwd=folder, wanted="down",
        template=template,
    )  # fmt: skip
    backend.write_spec(config, slot, spec, {"PGPASSWORD": password})

    def by_hand(strategy: str) -> None:
        with psycopg.connect(CLUSTER.url("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS by_hand")
            create = f"CREATE DATABASE by_hand TEMPLATE {template} STRATEGY {strategy}"
            connection.execute(create)

    ways = {
        "file_copy by hand": lambda: by_hand("file_copy"),
        "wal_log by hand": lambda: by_hand("wal_log"),
        "reset": lambda: migrate.reset(config, slot),
    }
    for way in ways.values():  # each finds an old database to drop
        way()
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            CLUSTER.execute(["CHECKPOINT"])  # none pays for what the one before it wrote
            begun = time.monotonic()
            way()
            took[name].append(time.monotonic() - begun)
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    floor = min(seconds for name, seconds in medians.items() if name != "reset")
    for name, seconds in medians.items():
        print(f"{name:18} median {seconds:.3f} s, {seconds / floor:.2f} of the floor")
    print(f"bound {RATIO}")
    return medians["reset"] / floor < RATIO


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
