"""The two colours that serve production: units on ports of their own, one of them live.

A colour is the release's `web` and its other servers: they are started, probed, stopped together.

A new release starts as the idle colour and is probed there. The old colour stops after the switch,
when its requests have had time to end.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from host.app.planning import Command
from host.app.process_types import servers
from host.app.process_types.process_environment import WEB
from host.config import Config
from host.deadline import Deadline
from host.errors import Refused
from host.files import log_files, ownership
from host.files.file_lock import file_lock
from host.files.surface_folder import NO_ROUTES, LiveRoutes
from host.postgres import lock_timeout
from host.postgres.lock_timeout import StartWatch
from host.units import managers
from host.units.health import describe_failed_start, wait_until_healthy
from host.units.unit import (
    HealthCheck,
    ProcessKilled,
    Unit,
    start_again_if_killed,
    start_or_replace,
    stop_together,
)
from releases.builds.build_folders import production_storage
from releases.builds.launch_spec import LaunchSpec, read_launch_spec
from releases.models import Deployment, Release
from releases.production import app_instance, current_link
from releases.production.app_instance import Instance
from releases.production.database import production_database_url
from releases.production.deployment_context import DeploymentContext, append_to_log
from releases.production.start_facts import find_differences
from releases.rules import COLOURS

logger = logging.getLogger(__name__)

# After SIGTERM an application may finish its requests for so long; then it is killed.
GRACE_SECONDS = 20.0
LOCK_SECONDS = 60.0


class Unhealthy(Exception):
    """A start or a probe failed; the text says which and why."""


class ReleaseKilled(ProcessKilled, Unhealthy):
    """The release did not start because SIGKILL ended one of its processes."""


class ColoursBusy(Refused):
    """Another process starts, stops or switches the colours."""

    def __init__(self) -> None:
        super().__init__("colours_busy", "Another process starts or stops a colour; try again.")


def port(config: Config, colour: str) -> int:
    """Return the port of a colour."""
    return config.colour_ports[COLOURS.index(colour)]


def address(config: Config, colour: str) -> str:
    """Return the address to which the surface sends the requests of a live colour."""
    return f"127.0.0.1:{port(config, colour)}"


def unit_name(colour: str) -> str:
    """Return the name of a colour's unit."""
    return app_instance.unit_name(colour)


def log_path(config: Config, colour: str) -> Path:
    """Return the log of a colour's output."""
    return app_instance.log_path(config, colour)


def build_environment(
    config: Config, release: Release, colour: str, spec: LaunchSpec, database_url: str
) -> dict[str, str]:
    """Return the complete environment of the release's processes as that colour, with storage."""
    instance = replace(_instance(config, colour), database_url=database_url)
    app_instance.start_redis(config, spec, instance)
    app_instance.link_storage(config, release, spec, instance)
    return app_instance.resolve_environment(config, release, spec, instance).env


def _instance(config: Config, colour: str) -> Instance:
    return make_instance(config, colour, port(config, colour), config.server_ports[colour])


def make_instance(config: Config, name: str, port: int, server_ports: tuple[int, ...]) -> Instance:
    """Return an instance of the application with production's database, home and storage."""
    return Instance(
        name,
        port,
        production_database_url(config),
        ensure_home(config),
        production_storage(config),
        server_ports,
    )


def read_health_check(config: Config, release: Release) -> HealthCheck | None:
    """Return how the release's backend is probed; None if it has no backend.

    Raises Refused `release_corrupt`.
    """
    spec = read_launch_spec(config, release.pk)
    return None if spec.web is None else app_instance.build_health_check(config, spec)


def make_unit(config: Config, release: Release, colour: str) -> Unit | None:
    """Return the unit of the release's `web` as that colour; None if it has no backend.

    Raises Refused `release_corrupt`.
    """
    return next(iter(make_units(config, release, colour)), None)


def make_units(config: Config, release: Release, colour: str) -> list[Unit]:
    """Return the units that serve `release` as that colour: `web` first; none without a backend.

    Raises Refused `release_corrupt`.
    """
    spec, instance = read_launch_spec(config, release.pk), _instance(config, colour)
    if spec.web is None:
        return []
    web = app_instance.make_unit(config, release, spec, spec.web, instance)
    return [web, *app_instance.make_server_units(config, release, spec, instance)]


def list_unit_names(config: Config, release: Release, colour: str) -> dict[str, str]:
    """Return the units of the release's servers as that colour, by process type; `web` first.

    Raises Refused `release_corrupt`.
    """
    spec = read_launch_spec(config, release.pk)
    if spec.web is None:
        return {}
    others = {one.name: app_instance.server_unit_name(colour, one) for one in spec.servers}
    return {WEB: unit_name(colour), **others}


def read_live_routes(config: Config, release: Release, colour: str) -> LiveRoutes:
    """Return where the surface sends requests while the release is live as that colour.

    Nowhere if its build is gone.
    """
    with suppress(Refused):
        spec = read_launch_spec(config, release.pk)
        return servers.build_live_routes(
            spec.manifest, spec.processes, port(config, colour), config.server_ports[colour]
        )
    return NO_ROUTES


def stop_colour(config: Config, colour: str) -> bool:
    """Stop all that runs as the colour; returns whether all of it has ended."""
    names = {unit_name(colour), *app_instance.list_units(config, colour)}
    return stop_together(managers.get_manager(config), names, grace=GRACE_SECONDS)


def ensure_home(config: Config) -> Path:
    """Return the application's home, the only folder that it may write; create it if missing."""
    path = config.var / "app"
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        ownership.give_tree(path, config.app_user)
    return path


def start_colour(context: DeploymentContext, deployment: Deployment) -> None:
    """Start the deployment's release as its colour and wait until it is healthy.

    Once more if one of its processes is killed meanwhile. Raises Unhealthy, Refused.
    """
    report = partial(append_to_log, context.log)
    start_again_if_killed(partial(_start_units, context, deployment), report)


def _start_units(context: DeploymentContext, deployment: Deployment) -> None:
    # Also called for the previous release, when a deployment is undone.
    config, colour = context.config, deployment.colour
    units = make_units(config, deployment.release, colour)
    names = {unit.name for unit in units}
    # Servers that the release before had as this colour, and this one has not.
    strays = [name for name in app_instance.list_units(config, colour) if name not in names]
    stop_together(managers.get_manager(config), strays, grace=GRACE_SECONDS)
    deadline = Deadline(context.settings.start_seconds)
    seconds = lock_timeout.read_lock_timeout(config)
    watch = lock_timeout.StartWatch(production_database_url(config), seconds)
    log_starts = {unit.name: log_files.read_size(unit.log) for unit in units}
    try:
        for unit in units:
            # An earlier release that drained as this colour is stopped first.
            start_or_replace(managers.get_manager(config), unit, GRACE_SECONDS, context.is_stopping)
    except Refused as refused:
        if refused.code != "unit_crashed":
            raise
        was_killed = isinstance(refused, ProcessKilled)
        raise _refuse(context, deployment, refused.detail, was_killed=was_killed) from refused
    for unit in units:
        _require_health(context, deployment, unit, deadline, log_starts[unit.name], watch)


def _require_health(
    context: DeploymentContext,
    deployment: Deployment,
    unit: Unit,
    deadline: Deadline,
    log_start: int,
    watch: StartWatch,
) -> None:
    """Wait until the started unit is healthy, or makes visitors of the live release wait.

    Raises Unhealthy, DeploymentLost.
    """

    def stop() -> bool:
        return context.is_stopping() or watch.is_obstructed()

    config = context.config
    seconds = max(deadline.seconds_left, 0.0)
    health = wait_until_healthy(managers.get_manager(config), unit, seconds, stop)
    context.raise_if_stopping()
    if health.ok:
        return
    name = unit.env["OROBOROS_PROCESS"]
    reason = describe_failed_start(health, unit, log_start, describe_key(name))
    text = f"{describe_subject(name)} of {deployment.release} is not healthy: {reason}"
    # While it still runs: an application that migrates when it starts may wait for a lock.
    waits = lock_timeout.describe_lock_wait(production_database_url(config))
    text = f"{text}\n{waits}".rstrip()
    watch.end_waits()
    was_killed = managers.get_manager(config).status(unit.name).was_killed
    raise _refuse(context, deployment, text, was_killed=was_killed)


def _refuse(
    context: DeploymentContext, deployment: Deployment, reason: str, *, was_killed: bool
) -> Unhealthy:
    text = explain_start(context, deployment, reason)
    return ReleaseKilled(text) if was_killed else Unhealthy(text)


def describe_subject(process: str) -> str:
    """Return how a sentence names the process of that type."""
    return "The backend" if process == WEB else f"The process {process}"


def describe_key(process: str) -> str:
    """Return the table of the manifest that describes the process of that type."""
    return "[backend]" if process == WEB else f"[processes.{process}]"


def explain_start(
    context: DeploymentContext, deployment: Deployment, reason: str, command: Command | None = None
) -> str:
    """Return `reason` and sentences on what production differs in, if the reason shows it.

    `command` is the one that failed, by default the backend's. Raises Refused `release_corrupt`.
    """
    config, release = context.config, deployment.release
    spec = read_launch_spec(config, release.pk)
    failed, instance = command or spec.web, _instance(config, deployment.colour)
    if failed is None:
        return reason
    found = find_differences(config, release, spec, instance, failed, reason)
    return "\n".join([reason, *found])


@contextmanager
def lock_colours(config: Config, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Let one process at a time start, stop and switch the colours.

    Raises ColoursBusy if another process holds the lock for longer than `seconds`.
    """
    # One lock for both colours: a switch moves the role of live between them.
    path = config.var / "run" / "colours.lock"
    with file_lock(path, seconds=seconds, refusal=ColoursBusy()):
        yield


def get_live_colour(config: Config) -> str | None:
    """Return the colour that the current link names; None if nothing is live."""
    target = current_link.read(config)
    if target is None:
        return None
    # The link knows addresses only, because the surface reads it.
    return next((c for c in COLOURS if target.address == address(config, c)), None)


def stop_idle_colours(config: Config, unless: Callable[[str], bool] | None = None) -> None:
    """Stop the colours that are not live, unless a running deployment or `unless` needs them.

    A refusal is only logged: the live colour serves, and the reconciler tries again.
    """
    try:
        with lock_colours(config):
            if Deployment.objects.running().exists():
                return
            for colour in list_idle_colours(config):
                if unless is None or not unless(colour):
                    stop_colour(config, colour)
    except Refused as refused:
        logger.warning("An idle colour was not stopped: %s", refused.detail)


def list_idle_colours(config: Config) -> list[str]:
    """Return the colours that run and are not live."""
    live = get_live_colour(config)
    return [
        colour for colour in COLOURS if colour != live and app_instance.list_units(config, colour)
    ]
