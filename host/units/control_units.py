"""The units of the API and the worker, and starting again the one that died.

Where there is no systemd each of the two watches the other. Only `runtime-up.sh` starts them again
if both die at once.
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from host.config import Config
from host.process.runner import MARK_VARIABLE
from host.units.local_manager import LocalManager
from host.units.unit import Unit

API, WORKER = "ouroboros-api", "ouroboros-worker"
# The API and the worker get the caller's variables that configure them or the network. A unit with
# another environment is restarted, so those of a terminal or an editor would restart it each time.
FORWARDED_NAMES = re.compile(
    r"PATH|HOME|LANG|TZ|TMPDIR|SECRET_KEY|DATABASE_URL|DEBUG|ALLOWED_HOSTS|TIME_ZONE"
    r"|STEP_TIMEOUT_SECONDS|CORS_APP_ORIGINS|RELEASES_KEEP|TEMPLATE_DATABASES_KEEP|HEALTH_.*"
    r"|(?:OROBOROS|PREVIEW|WORKER|MERGE_GATE|DEPLOY|GIT|ADMISSION|RETENTION)_.*"
    r"|(?:UV|PIP|NPM_CONFIG|npm_config|YARN|BUN_CONFIG|SSL|REQUESTS|CURL_CA|NODE_EXTRA)_.*"
    r"|(?:HTTPS?|NO|ALL|https?|no|all)_(?:PROXY|proxy)"
)
# Those of them that describe the caller and not this installation: another terminal, cron or a
# service manager has others, and must not restart what runs.
CALLERS_OWN_NAMES = frozenset({"PATH", "HOME", "LANG", "TZ", "TMPDIR"})


def build_units(config: Config, environ: Mapping[str, str]) -> list[Unit]:
    """Return the units of the API and the worker; `environ` is the caller's environment."""
    home, env = config.home, filter_environment(environ)
    gunicorn = (sys.executable, "-m", "gunicorn", "--config", str(home / "infra/gunicorn.conf.py"))
    worker = (sys.executable, str(home / "manage.py"), "run_worker")
    return [
        _build_unit(config, API, gunicorn, env, config.api_port),
        _build_unit(config, WORKER, worker, env, config.worker_port),
    ]


def filter_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the caller's environment that the API and the worker get."""
    return {name: value for name, value in environ.items() if FORWARDED_NAMES.fullmatch(name)}


def start_if_dead(config: Config, name: str) -> bool:
    """Start the API or the worker if it died, with this process's own environment.

    That is the same, because both are started together. Returns whether it was dead. Raises
    Refused as the manager's `start`. Under systemd, which restarts them, it does nothing.
    """
    manager = LocalManager(config)
    if config.is_systemd or name not in manager.list_names() or manager.status(name).is_active:
        return False
    units = {unit.name: unit for unit in build_units(config, read_start_environment())}
    return manager.start_if_dead(units[name])


def read_start_environment() -> dict[str, str]:
    """Return the environment with which this process was started, without its mark.

    `os.environ` has the values of the env files too, which each process reads for itself.
    """
    pairs = Path("/proc/self/environ").read_bytes().split(b"\0")
    names_and_values = (pair.decode(errors="surrogateescape").partition("=") for pair in pairs)
    environ = {name: value for name, _, value in names_and_values if name}
    environ.pop(MARK_VARIABLE, None)
    return environ


def _build_unit(
    config: Config, name: str, argv: tuple[str, ...], env: Mapping[str, str], port: int
) -> Unit:
    log = config.var / "log" / f"{name}.log"
    # The queue's sentinel waits for ever for a child that ended before it.
    return Unit(
        name,
        argv,
        config.home,
        env,
        None,
        log,
        port,
        ends_its_children=True,
        ignored_env=CALLERS_OWN_NAMES,
    )
