"""Starts, stops and probes all that this checkout runs."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from host import service_user
from host.config import Config, SlotConfig
from host.deadline import wait_until
from host.errors import Refused
from host.units import control_units, managers
from host.units.control_units import API, WORKER
from host.units.health import Health, probe
from host.units.unit import HealthCheck, Unit, start_or_replace
from ops import live_release, progress, systemd
from ops.postgres.embedded_server import Cluster
from ops.preconditions.migrations import find_missing_migrations
from ops.preconditions.shell_settings import describe_shell_settings
from releases.production import current_link
from releases.production.deploy_settings import DeploySettings
from slots.runtime import backend, surface, surface_env_files, web_units
from slots.runtime.web_units import ROUTER

HEALTHY_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.2
POSTGRES = "postgres"
# infra/caddy/Surface.Caddyfile says this in the body of its 503.
# The status in the body of main's /health before the first release, see Surface.Caddyfile.
NO_RELEASE = "no_release"
OWN_CHECK = HealthCheck()  # of our own services


@dataclass(frozen=True)
class Row:
    """One row of the startup matrix, with its state.

    `has_answered`: the unit itself answered its health check, whatever it said.
    """

    name: str
    port: int
    is_ok: bool
    reason: str
    has_answered: bool = False

    def __str__(self) -> str:
        return f"{'ok  ' if self.is_ok else 'FAIL'}  {self.name:<24} {self.port:>5}  {self.reason}"


def get_cluster(config: Config) -> Cluster:
    """Return the embedded PostgreSQL of this checkout."""
    return Cluster(config.var / POSTGRES, config.postgres_port, config.postgres_user)


def build_control_units(config: Config, environ: Mapping[str, str]) -> list[Unit]:
    """Return the units of the API, the worker, the surfaces and the router.

    `environ` is the caller's environment.
    """
    return [*control_units.build_units(config, environ), *web_units.build_web_units(config)]


def start_all(config: Config, environ: Mapping[str, str]) -> str:
    """Start all units that do not run and wait until every row is healthy; returns a sentence.

    `environ` is the caller's environment. Raises Refused `not_set_up`, `not_migrated`,
    `not_healthy` with the rows that are not healthy, or as the units do.
    """
    if not config.database_url:
        raise Refused("not_set_up", "This checkout is not set up: run ./scripts/quickstart.sh.")
    shell_settings_note = describe_shell_settings(config, environ)
    if shell_settings_note:
        progress.print_line(f"Note: {shell_settings_note}")
    if config.is_systemd:
        with progress.step("Starting the installed units") as report_waiting:
            systemd.start_units(config)
            wait_until_healthy(config, _startup_seconds(config), report_waiting)
        return "Everything runs and is healthy."
    if not get_cluster(config).is_running():
        with progress.step("Starting PostgreSQL"):
            get_cluster(config).start()
    require_migrations(config)
    with progress.step("Starting the control plane, the surfaces and the slots") as report_waiting:
        # Before the surfaces start: the runbook's `cat` then shows the ports they listen on.
        surface_env_files.write(config)
        units = build_control_units(config, environ)
        with ThreadPoolExecutor() as pool:  # so that no start waits for another unit's
            for future in [
                *(pool.submit(start_unit, config, unit) for unit in units),
                *(pool.submit(_start_slot, config, slot) for slot in config.slots),
            ]:
                future.result()
        wait_until_healthy(config, _startup_seconds(config), report_waiting)
    return "Everything runs and is healthy."


def _startup_seconds(config: Config) -> float:
    """Return how long to wait, including what a live release may take to start."""
    if live_release.find_live_backend(config) is None:
        return HEALTHY_SECONDS
    return HEALTHY_SECONDS + DeploySettings.read(config).start_seconds


def require_migrations(config: Config) -> None:
    """Raise Refused `not_migrated` if the database is older than this checkout.

    Under systemd a unit migrates it before the API starts.
    """
    try:
        missing = find_missing_migrations(config)
    except psycopg.Error:  # the API says what is wrong with it, or comes up when it does
        return
    if missing:
        detail = (
            f"The control plane's database has not {', '.join(missing)}, as after a pull: run "
            "./scripts/quickstart.sh, which also installs the packages of this version."
        )
        raise Refused("not_migrated", detail)


def start_unit(config: Config, unit: Unit) -> None:
    """Start the unit, or restart it if it runs another command. Raises Refused as the units do."""
    start_or_replace(managers.get_manager(config), unit, STOP_SECONDS)


def start_slots(config: Config) -> str:
    """Start in each slot what its spec says; returns a sentence.

    Under systemd this runs before the worker starts, which would find the slots empty.
    """
    service_user.switch_to_service_user(config)
    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(_start_slot, config, slot) for slot in config.slots]:
            future.result()
    return "Every slot runs what its spec says."


def _start_slot(config: Config, slot: SlotConfig) -> None:
    """Start what the slot's spec says, unless a person stopped it."""
    if surface.read_state(slot) is None:
        surface.show_free(config, slot)
    if backend.status(config, slot).spec.wanted == "up":
        backend.start(config, slot)


def wait_until_healthy(
    config: Config, seconds: float, report_waiting: Callable[[str], bool]
) -> None:
    """Wait until every row is healthy; `report_waiting` gets the names of those that are not.

    Raises Refused `not_healthy` after `seconds`. A slot that a person stopped counts as healthy.
    """
    unhealthy: list[Row] = []

    def is_healthy() -> bool:
        nonlocal unhealthy
        unhealthy = _list_unhealthy_rows(config)
        if unhealthy:
            report_waiting(", ".join(row.name for row in unhealthy))
        return not unhealthy

    if not wait_until(is_healthy, seconds=seconds, interval=POLL_SECONDS):
        lines = "\n".join(map(str, unhealthy))
        detail = f"Not healthy after {seconds:.0f} s; see {config.var / 'log'}:\n{lines}"
        raise Refused("not_healthy", detail)


def _list_unhealthy_rows(config: Config) -> list[Row]:
    rows = probe_rows(config)
    return [row for row in rows if not row.is_ok and not find_stopped_slot(config, row)]


def find_stopped_slot(config: Config, row: Row) -> str | None:
    """Return the id of the slot whose surface or backend the row is, if a person stopped it."""
    # The surface of a stopped slot answers that its backend does not; a dead surface is a fault.
    slots = {slot.backend_port: slot for slot in config.slots}
    if row.has_answered:
        slots |= {slot.web_port: slot for slot in config.slots}
    owner = slots.get(row.port)
    if owner is None or backend.status(config, owner).spec.wanted != "down":
        return None
    return owner.slot_id


def check_health(config: Config) -> list[Row]:
    """Probe every row of the startup matrix once."""
    return list(probe_rows(config))


def probe_rows(config: Config) -> Iterator[Row]:
    """Yield the rows of the startup matrix in the runbook's order, then a live production app."""
    yield _probe(config, "API (control)", API, config.api_port)
    yield _probe(config, "Worker", WORKER, config.worker_port)
    yield _probe(config, "Web main", "ouroboros-web@main", config.web_port)
    for slot in config.slots:
        unit = f"ouroboros-web@preview{slot.number}"
        yield _probe(config, f"Web {slot.slot_id}", unit, slot.web_port)
    for slot in config.slots:
        status = backend.status(config, slot)
        reason = "idle" if status.kind == "idle" and status.health.ok else status.health.reason
        name = f"Slot backend {slot.slot_id}"
        yield Row(name, slot.backend_port, status.health.ok, reason)
    router_check = HealthCheck(host=f"app.{config.domain}")
    yield _probe(config, "Caddy", ROUTER, config.router_port, router_check)
    live = live_release.find_live_backend(config)
    if live is not None:
        check = HealthCheck(
            live.health_path, live.is_health_guess, config.app_host, config.is_https
        )
        yield _probe(config, "Production app", live.unit, live.port, check)


def _probe(
    config: Config,
    name: str,
    unit: str,
    port: int,
    check: HealthCheck = OWN_CHECK,
) -> Row:
    status = managers.get_manager(config).status(unit, port)
    health: Health = probe(status, port, check)
    if _has_no_release(config, health):
        return Row(name, port, True, "no release is live yet")
    return Row(name, port, health.ok, health.reason, has_answered=bool(health.body))


def _has_no_release(config: Config, health: Health) -> bool:
    """Return whether main's surface answered 503 because no release is live.

    The stack of a new installation is healthy although port 3100 serves nothing before the first
    release. A link that exists and leads nowhere is a fault.
    """
    if os.path.lexists(current_link.link_path(config)):
        return False
    try:
        body = json.loads(health.body)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("status") == NO_RELEASE


def stop_all(config: Config) -> str:
    """Stop all that this checkout started, PostgreSQL last; returns a sentence.

    Raises Refused `still_running`.
    """
    if config.is_systemd:
        systemd.stop_units(config)
        return "Nothing of this checkout runs."
    manager = managers.get_manager(config)
    still_running: set[str] = set()

    def stop(name: str) -> None:
        progress.print_line(f"Stopping {name}")
        if not manager.stop(name, STOP_SECONDS):
            still_running.add(name)

    stop(WORKER)  # first: the worker restarts what it finds stopped
    # Again until none is left: a unit may have started another one meanwhile.
    while running := set(manager.list_names()) - still_running:
        for name in sorted(running):
            stop(name)
    # An external server (no data folder here) is not ours to stop.
    if (get_cluster(config).data / "PG_VERSION").exists():
        progress.print_line("Stopping PostgreSQL")
        get_cluster(config).stop()
    if still_running:
        raise Refused("still_running", f"SIGKILL did not end {', '.join(still_running)}.")
    return "Nothing of this checkout runs."
