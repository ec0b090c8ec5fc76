"""Compares a reset of a preview's database with the bare SQL commands on the same server.

    python bench/database_reset.py [--mb 1024] [--times 3]

The floor is DROP DATABASE and CREATE DATABASE with a template, with the faster of PostgreSQL's two
strategies. `reset` is what scripts/preview-db-reset.sh does, here without a backend to stop, a
migration to run, or a spare copy of the template.
"""

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from arguments import add_number, make_parser

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME))

ROWS_PER_MB = 1024
RATIO = 1.1


def main() -> bool:
    """Measure, print, and return whether a reset is within its bound."""
    parser = make_parser(__doc__)
    add_number(parser, "--mb", 1024, "size of the database")
    add_number(parser, "--times", 3, "resets of each kind")
    options = parser.parse_args()
    from tests import environment  # starts a PostgreSQL for this process

    with tempfile.TemporaryDirectory(dir=environment.CLUSTER.folder.parent) as folder:
        Path(folder).chmod(0o755)
        return measure(Path(folder), options.mb, options.times)


def measure(folder: Path, size: int, times: int) -> bool:
    import psycopg

    from host import config as configuration
    from host.postgres import guard
    from host.postgres.administration import DatabaseAdmin
    from slots.runtime import backend, database_commands
    from slots.runtime.spec import Spec
    from tests.environment import CLUSTER, free_port

    loaded = configuration.load({**os.environ, "OROBOROS_VAR": str(folder / "var")})
    slot = replace(loaded.slots[0], backend_port=free_port())
    config = replace(loaded, slots=(slot,))
    admin, template = DatabaseAdmin(config), guard.template_name("0" * 40)
    admin.ensure_role(template)
    admin.create(template, template)
    with psycopg.connect(CLUSTER.url(template), autocommit=True) as connection:
        connection.execute("CREATE TABLE filler (id bigint, text text STORAGE PLAIN)")
        connection.execute(
            "INSERT INTO filler SELECT n, repeat('x', 1000) FROM generate_series(1, %s) n",
            [size * ROWS_PER_MB],
        )
        connection.execute(f"ALTER TABLE filler OWNER TO {template}")
    admin.seal_template(template)
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    spec = Spec(
        run_id="bench", commit="0" * 40, fence=1, argv=("true",), cwd=folder, wanted="down",
        template=template,
    )  # fmt: skip
    backend.write_spec(config, slot, spec, {"PGPASSWORD": password})

    def recreate(strategy: str) -> None:
        with psycopg.connect(CLUSTER.url("postgres"), autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS recreated")
            create = f"CREATE DATABASE recreated TEMPLATE {template} STRATEGY {strategy}"
            connection.execute(create)

    variants = {
        "SQL, file_copy": lambda: recreate("file_copy"),
        "SQL, wal_log": lambda: recreate("wal_log"),
        "reset": lambda: database_commands.reset(config, slot),
    }
    for run in variants.values():  # from now on each has a database to drop
        run()
    seconds_by_name: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(times):
        for name, run in variants.items():
            CLUSTER.execute(["CHECKPOINT"])  # so that none waits for the writes of the one before
            started_at = time.monotonic()
            run()
            seconds_by_name[name].append(time.monotonic() - started_at)
    medians = {name: statistics.median(seconds) for name, seconds in seconds_by_name.items()}
    floor = min(seconds for name, seconds in medians.items() if name != "reset")
    for name, seconds in medians.items():
        print(f"{name:18} median {seconds:.3f} s, {seconds / floor:.2f} of the floor")
    print(f"bound {RATIO}")
    return medians["reset"] / floor < RATIO


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
