"""What runs here, and how all of it is started, stopped and looked at."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from host import service_user
from host.config import Config, SlotConfig
from host.errors import Refused
from host.units import managers
from host.units.managers import Health, Unit
from ops import live_release, progress, systemd
from ops.postgres.embedded_server import Cluster
from releases.deployments.hooks import Hooks
from slots.runtime import backend, surface

HEALTHY_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.2
POSTGRES = "postgres"
API, WORKER, ROUTER = "ouroboros-api", "ouroboros-worker", "ouroboros-caddy"
# Of the caller's environment, what configures us or says how to reach the outside. Everything else
# (a terminal, an editor, a desktop) would make every start another command.
CONFIGURES = re.compile(
    r"PATH|HOME|LANG|TZ|TMPDIR|SECRET_KEY|DATABASE_URL|DEBUG|ALLOWED_HOSTS|TIME_ZONE"
    r"|STEP_TIMEOUT_SECONDS|CORS_APP_ORIGINS|RELEASES_KEEP|HEALTH_.*"
    r"|(?:OROBOROS|PREVIEW|WORKER|MERGE_GATE|DEPLOY|GIT|ADMISSION|RETENTION)_.*"
    r"|(?:UV|PIP|NPM_CONFIG|npm_config|SSL|REQUESTS|NODE_EXTRA)_.*"
    r"|(?:HTTPS?|NO|https?|no)_(?:PROXY|proxy)"
)


@dataclass(frozen=True)
class Row:
    """One row of the startup matrix, as it is now."""

    name: str
    port: int
    ok: bool
    said: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.name:<24} {self.port:>5}  {self.said}"


def cluster(config: Config) -> Cluster:
    """Return the embedded PostgreSQL of this checkout."""
    return Cluster(config.var / POSTGRES, config.postgres_port, config.postgres_user)


def control_units(config: Config) -> list[Unit]:
    """Return what runs besides PostgreSQL, the slots' occupants and the production app."""
    home, python = config.home, sys.executable
    env = control_environment(os.environ)
    gunicorn = (python, "-m", "gunicorn", "--config", str(home / "infra/gunicorn.conf.py"))
    worker = (python, str(home / "manage.py"), "run_worker")
    names = ["main", *(f"preview{slot.number}" for slot in config.slots)]
    return [
        _unit(config, API, gunicorn, env, config.api_port),
        _unit(config, WORKER, worker, env, config.worker_port),
        *(_surface(config, name) for name in names),
        _router(config),
    ]


def control_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what API and worker are given of the caller's environment."""
    return {name: value for name, value in environ.items() if CONFIGURES.fullmatch(name)}


def _unit(
    config: Config, name: str, argv: tuple[str, ...], env: Mapping[str, str], port: int
) -> Unit:
    log = config.var / "log" / f"{name}.log"
    return Unit(name, argv, config.home, env, None, log, port)


def _caddy_environment(config: Config) -> dict[str, str]:
    return {"PATH": os.defpath, "XDG_DATA_HOME": str(config.var / "caddy")}


def _surface(config: Config, name: str) -> Unit:
    env = {**_caddy_environment(config), **surface.environment(config, name)}
    argv = tuple(surface.command(config))
    return _unit(config, f"ouroboros-web@{name}", argv, env, int(env["WEB_PORT"]))


def _router(config: Config) -> Unit:
    caddyfile = config.home / "infra/caddy/Caddyfile"
    caddy = str(Path(sys.executable).with_name("caddy"))
    argv = (caddy, "run", "--config", str(caddyfile), "--adapter", "caddyfile")
    env = {
        **_caddy_environment(config),
        "OROBOROS_DOMAIN": config.domain,
        "ROUTER_PORT": str(config.router_port),
        # Relative to where it runs: the path of a socket has 107 characters at most.
        "ROUTER_ADMIN_SOCKET": os.path.relpath(config.var / "run/caddy.sock", config.home),
        "API_PORT": str(config.api_port),
        "WEB_MAIN_PORT": str(config.web_port),
        **{f"WEB_PREVIEW{slot.number}_PORT": str(slot.web_port) for slot in config.slots},
    }
    return _unit(config, ROUTER, argv, env, config.router_port)


def up(config: Config) -> str:
    """Start everything and wait until it is well; what runs already is left alone.

    Raises Refused `not_set_up`, `not_healthy` naming what is not well, or as the units do.
    """
    if not config.database_url:
        raise Refused("not_set_up", "This checkout is not set up: run ./scripts/quickstart.sh.")
    if config.is_systemd:
        with progress.step("Starting the installed units") as waiting:
            systemd.up(config)
            wait(config, _patience(config), waiting)
        return "Everything runs and is well."
    if not cluster(config).is_running():
        with progress.step("Starting PostgreSQL"):
            cluster(config).start()
    with progress.step("Starting the control plane, the surfaces and the slots") as waiting:
        with ThreadPoolExecutor() as pool:
            for started in [
                *(pool.submit(start, config, unit) for unit in control_units(config)),
                *(pool.submit(_start_slot, config, slot) for slot in config.slots),
            ]:
                started.result()
        wait(config, _patience(config), waiting)
    return "Everything runs and is well."


def _patience(config: Config) -> float:
    """Return for how many seconds to wait: what is live is started last, and may take its time."""
    if live_release.live(config) is None:
        return HEALTHY_SECONDS
    return HEALTHY_SECONDS + Hooks.read(config).start_seconds


def start(config: Config, unit: Unit) -> None:
    """Start the unit, in place of an earlier version of it. Raises Refused as the units do."""
    manager = managers.manager(config)
    try:
        manager.start(unit)
    except Refused as refusal:
        if refusal.code != "unit_differs":
            raise
        manager.stop(unit.name, STOP_SECONDS)
        manager.start(unit)


def start_slots(config: Config) -> str:
    """Put in what the slots' specs say, before anybody looks who would mend it."""
    service_user.become_service(config)
    with ThreadPoolExecutor() as pool:
        for started in [pool.submit(_start_slot, config, slot) for slot in config.slots]:
            started.result()
    return "Every slot has its occupant."


def _start_slot(config: Config, slot: SlotConfig) -> None:
    """Put in what the slot's spec says; one that was stopped by hand stays stopped."""
    if surface.shown(slot) is None:
        surface.show_free(config, slot)
    if backend.status(config, slot).spec.wanted == "up":
        backend.start(config, slot)


def wait(config: Config, seconds: float, waiting: Callable[[str], bool]) -> None:
    """Wait until every row is well, telling for which. Raises Refused `not_healthy`."""
    deadline = time.monotonic() + seconds
    while bad := [row for row in rows(config) if not row.ok and not stopped_slot(config, row)]:
        waiting(", ".join(row.name for row in bad))
        if time.monotonic() > deadline:
            lines = "\n".join(map(str, bad))
            detail = f"Not well after {seconds:.0f} s; see {config.var / 'log'}:\n{lines}"
            raise Refused("not_healthy", detail)
        time.sleep(LOOK_SECONDS)


def stopped_slot(config: Config, row: Row) -> str | None:
    """Return the slot whose backend the row is, if it was stopped by hand."""
    found = next((slot for slot in config.slots if slot.backend_port == row.port), None)
    if found is None or backend.status(config, found).spec.wanted != "down":
        return None
    return found.slot_id


def health(config: Config) -> list[Row]:
    """Look at every row of the startup matrix, once."""
    return list(rows(config))


def rows(config: Config) -> Iterator[Row]:
    """Yield the rows of the startup matrix in the runbook's order, and production if it is live."""
    yield _look(config, "API (control)", API, config.api_port)
    yield _look(config, "Worker", WORKER, config.worker_port)
    yield _look(config, "Web main", "ouroboros-web@main", config.web_port)
    for slot in config.slots:
        unit = f"ouroboros-web@preview{slot.number}"
        yield _look(config, f"Web {slot.slot_id}", unit, slot.web_port)
    for slot in config.slots:
        found = backend.status(config, slot)
        said = "idle" if found.kind == "idle" and found.health.ok else found.health.reason
        name = f"Slot backend {slot.slot_id}"
        yield Row(name, slot.backend_port, found.health.ok, said)
    yield _look(config, "Caddy", ROUTER, config.router_port, host=f"app.{config.domain}")
    live = live_release.live(config)
    if live is not None:
        yield _look(config, "Production app", live.unit, live.port, live.health_path)


def _look(
    config: Config,
    name: str,
    unit: str,
    port: int,
    path: str = "/health",
    host: str = "127.0.0.1",
) -> Row:
    status = managers.manager(config).status(unit, port)
    health: Health = managers.probe(status, port, path, host=host)
    return Row(name, port, health.ok, health.reason)


def down(config: Config) -> str:
    """Stop all that this checkout started, PostgreSQL last. Raises Refused `still_running`."""
    if config.is_systemd:
        systemd.down(config)
        return "Nothing of this checkout runs any more."
    manager = managers.manager(config)
    stubborn: set[str] = set()

    def stop(name: str) -> None:
        progress.say(f"Stopping {name}")
        if not manager.stop(name, STOP_SECONDS):
            stubborn.add(name)

    stop(WORKER)  # it starts again what it finds stopped
    while left := set(manager.names()) - stubborn:
        for name in sorted(left):
            stop(name)
    if (cluster(config).data / "PG_VERSION").exists():
        progress.say("Stopping PostgreSQL")
        cluster(config).stop()
    if stubborn:
        raise Refused("still_running", f"Not even SIGKILL ended {', '.join(stubborn)}.")
    return "Nothing of this checkout runs any more."
