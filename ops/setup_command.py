"""Runs `manage.py setup`: tables, static files, groups, the first admin, and the slots' rows."""

from collections.abc import Mapping

from host.config import Config
from host.errors import Refused
from host.process import runner

SETUP_SECONDS = 300.0
ERROR_CHARACTERS = 4000
# The exit code of `manage.py setup` for a database that it cannot migrate.
SCHEMA_TOO_OLD_EXIT = 4


def run_setup(config: Config, python: str, env: Mapping[str, str] | None = None) -> list[str]:
    """Run the setup; return the lines that name the first admin's new password, if it made one.

    Raises Refused `schema_too_old` if the database is of a version before 0.1, `setup_failed`
    with the end of stderr for any other error.
    """
    argv = [python, str(config.home / "manage.py"), "setup"]
    result = runner.capture(argv, cwd=config.home, timeout=SETUP_SECONDS, env=env)
    error = result.stderr.decode(errors="replace").strip()[-ERROR_CHARACTERS:]
    if result.exit_code == SCHEMA_TOO_OLD_EXIT:
        raise Refused("schema_too_old", error)
    if result.exit_code != 0:
        raise Refused("setup_failed", f"manage.py setup failed:\n{error}")
    return [line for line in result.stdout.decode().splitlines() if ", password " in line]
