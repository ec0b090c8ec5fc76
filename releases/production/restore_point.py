"""Restore points of production's database: a dump before each deployment with migrations."""

from pathlib import Path

from host.config import Config
from host.errors import Refused
from host.postgres import client_programs
from host.process import runner
from releases.models import Release
from releases.production.database import production_database_url
from releases.production.deployment_context import DeploymentContext

# For one program; a dump of a large database may take most of it.
DUMP_SECONDS = 3600.0
# Drops what the application's role owns: PostgreSQL has no command that empties a database.
DROP_OWN_SCHEMAS = """
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = current_user LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', name);
  END LOOP;
END $$;
CREATE SCHEMA IF NOT EXISTS public
"""


class RestorePointFailed(Exception):
    """The dump or the restore failed; the text says what PostgreSQL's program printed."""


def restore_folder(config: Config) -> Path:
    """Return the folder of the dumps, and of the schemas that `migration` compares."""
    return config.var / "restore"


def create_restore_point(context: DeploymentContext) -> None:
    """Dump production's database and record in the release where, and how to restore it.

    A second call after a crash keeps a complete dump. Raises RestorePointFailed.
    """
    config, release = context.config, context.release
    path = restore_folder(config) / f"{context.deployment.number}.dump"
    if not path.exists():
        context.report_progress("restore point of the production database")
        _dump_database(config, path)
    release.record_restore_point(
        str(path.relative_to(config.var)),
        f"./scripts/release-registry.sh restore {release.release_id}",
    )


def _dump_database(config: Config, path: Path) -> None:
    # Renamed when complete: a crash must not leave a half dump under the final name.
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--file={partial}"]
    try:
        _run_client_program(config, "pg_dump", arguments)
    except RestorePointFailed as failed:
        detail = f"No restore point, so nothing is deployed: {failed}"
        raise RestorePointFailed(detail) from failed
    # It contains production's data.
    partial.chmod(0o600)
    partial.rename(path)


def restore_database(config: Config, release: Release) -> None:
    """Restore production's database to the release's restore point, completely or not at all.

    Raises RestorePointFailed.
    """
    dump = config.var / release.restore_point
    script = dump.with_suffix(".sql")
    to_script = ["--no-owner", "--no-privileges", f"--file={script}", str(dump)]
    # One transaction for dropping and restoring, which pg_restore alone cannot do.
    options = ["--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
    steps = [f"--command={DROP_OWN_SCHEMAS}", f"--file={script}"]
    try:
        _run_client_program(config, "pg_restore", to_script)
        _run_client_program(config, "psql", [*options, *steps])
    except RestorePointFailed as failed:
        raise RestorePointFailed(f"Nothing was restored: {failed}") from failed
    finally:
        script.unlink(missing_ok=True)


def _run_client_program(config: Config, name: str, arguments: list[str]) -> None:
    """Run a program of PostgreSQL on production's database. Raises RestorePointFailed."""
    url = production_database_url(config)
    try:
        program = client_programs.find_pg_dump(url).with_name(name)
    except Refused as refused:
        raise RestorePointFailed(refused.detail) from refused
    # In the environment: a command line, and a password in it, is visible to every user of the
    # host.
    env = client_programs.libpq_environment(url)
    done = runner.capture([str(program), *arguments], timeout=DUMP_SECONDS, env=env)
    if done.exit_code != 0:
        text = done.stderr.decode(errors="replace").strip()[-2000:]
        raise RestorePointFailed(text or f"{name} took too long")
