"""The health gate after a switch: the reload hook, then probes that must all succeed for a time."""

import os
import time

from host import http_client, log_message
from host.app.command_line import Argv
from host.config import Config
from host.deadline import Deadline
from host.errors import Refused
from host.files import log_files, safe_files
from host.git.bare_repository import Repository
from host.masking.known_secrets import read_masks
from host.process import runner
from host.units import managers
from host.units.health import probe
from host.units.listeners import find_foreign_listener
from host.units.unit import Unit
from releases.builds.launch_spec import read_launch_spec
from releases.models import Deployment, Release
from releases.processes import background
from releases.production import colours
from releases.production.colours import Unhealthy
from releases.production.deployment_context import DeploymentContext
from releases.rules import has_backend_changes

POLL_SECONDS = 0.25
PROBE_SECONDS = 5.0
# How long a release that is live again may take to answer.
RESTORE_SECONDS = 10.0
COMMIT_HEADER = "x-oroboros-commit"


def is_health_gate_needed(config: Config, repository: Repository, release: Release) -> bool:
    """Return whether the release changes the live one's backend; true if none is live."""
    live = Release.objects.live()
    # A repository that was restored from a backup may lack the live commit.
    if live is None or not repository.has_commit(live.commit_sha):
        return True
    manifest = read_launch_spec(config, release.pk).manifest
    # A frontend that is not built is served by the backend, so its files are the backend's.
    frontend = manifest.frontend_dir if manifest.frontend_output is not None else None
    files = repository.list_changed_files(live.commit_sha, release.commit_sha)
    return has_backend_changes(files, manifest.backend_dir, frontend)


def run_reload_hook(context: DeploymentContext, *, is_undo: bool = False) -> None:
    """Run the operator's reload hook, if one is set. Raises Unhealthy.

    A hook that restarts Oroboros ends this process too. The process that takes over must not run
    it again, so a file says that this deployment, or its undoing (`is_undo`), has run it.
    """
    settings = context.settings
    if settings.reload_command is None:
        return
    if settings.reload_restarts_oroboros:
        marker = context.config.var / "run" / "reload.begun"
        text = f"{context.deployment.number} {'undo' if is_undo else 'deploy'}"
        if marker.exists() and marker.read_text() == text:
            return
        # Before the hook, which may end this process.
        safe_files.write_atomic(marker, text.encode(), 0o600)
    _run_hook(context, settings.reload_command, settings.reload_seconds, "The reload hook")


def watch_health(context: DeploymentContext) -> None:
    """Probe for DEPLOY_HEALTH_SECONDS. Raises Unhealthy at the first probe that fails."""
    deadline = Deadline(context.settings.health_seconds)
    processes = _read_processes(context)
    while True:
        # Before the deadline is looked at: DEPLOY_HEALTH_SECONDS=0 still means one probe.
        check_health(context, context.deployment)
        # A backend that died is started again for its visitors, and does not pass for that.
        changed = _find_changed(processes, _read_processes(context))
        if changed:
            raise Unhealthy(f"{changed} of {context.release} ended and was started again.")
        if deadline.has_passed:
            return
        context.raise_if_stopping()
        time.sleep(POLL_SECONDS)


ProcessIds = dict[str, tuple[int | None, float | None]]


def _read_processes(context: DeploymentContext) -> ProcessIds:
    """Return process id and start time of the deployment's servers and background processes."""
    manager, release = managers.get_manager(context.config), context.release
    units = colours.list_unit_names(context.config, release, context.deployment.colour)
    names = background.list_names(context.config, release)
    units |= {name: background.unit_name(name) for name in names}
    statuses = {name: manager.status(unit) for name, unit in units.items()}
    return {
        colours.describe_subject(name): (status.pid, status.start_time)
        for name, status in statuses.items()
    }


def _find_changed(before: ProcessIds, now: ProcessIds) -> str:
    """Return the first subject whose process is another one; "" if there is none."""
    return next((subject for subject, ids in now.items() if ids != before[subject]), "")


def wait_until_restored(context: DeploymentContext, deployment: Deployment) -> None:
    """Wait until the release that is live again is healthy. Raises Unhealthy with the reason."""
    deadline = Deadline(RESTORE_SECONDS)
    while True:
        try:
            return check_health(context, deployment)
        except Unhealthy:
            if deadline.has_passed:
                raise
        context.raise_if_stopping()
        time.sleep(POLL_SECONDS)


def check_health(context: DeploymentContext, deployment: Deployment) -> None:
    """Probe once: the colour, the surface and its commit, the operator's command.

    Raises Unhealthy.
    """
    for unit in colours.make_units(context.config, deployment.release, deployment.colour):
        _check_unit(context.config, deployment.release, unit)
    _check_processes(context.config, deployment.release)
    _probe_surface(context.config.web_port, deployment.release.commit_sha)
    settings = context.settings
    if settings.healthcheck_command is not None:
        seconds = settings.healthcheck_seconds
        _run_hook(context, settings.healthcheck_command, seconds, "The health check")


def _check_unit(config: Config, release: Release, unit: Unit) -> None:
    """Raise Unhealthy if a server of the release is not healthy."""
    if unit.port is None:
        raise ValueError(f"{unit.name} has no port to probe")
    status = managers.get_manager(config).status(unit.name, unit.port)
    health = probe(status, unit.port, unit.health, PROBE_SECONDS)
    if not health.ok:
        subject = colours.describe_subject(unit.env["OROBOROS_PROCESS"])
        raise Unhealthy(f"{subject} of {release} is not healthy: {health.reason}")


def _check_processes(config: Config, release: Release) -> None:
    """Raise Unhealthy if a background process of the release does not run."""
    names = map(background.unit_name, background.list_names(config, release))
    try:
        background.require_active(config, names)
    except Refused as refused:
        raise Unhealthy(refused.detail) from refused


def _probe_surface(port: int, commit: str) -> None:
    # People may be sent to it by another address of the port.
    foreign = find_foreign_listener(port)
    if foreign:
        raise Unhealthy(f"Another process listens on the surface's port {port}: {foreign}.")
    try:
        response = http_client.get(port, "/health", seconds=PROBE_SECONDS)
    except (OSError, ValueError) as error:
        raise Unhealthy(f"The surface on port {port} did not answer: {error}.") from error
    if response.status != 200:
        raise Unhealthy(f"The surface on port {port} answered {response.status}.")
    # Caddy reads the commit and the upstream from one file: the header proves the switch.
    header = response.headers.get(COMMIT_HEADER)
    if header != commit:
        raise Unhealthy(f"The surface on port {port} shows commit {header}, not {commit}.")


def _run_hook(context: DeploymentContext, argv: Argv, seconds: float, subject: str) -> None:
    """Run an operator's command as the control plane's user. Raises Unhealthy."""
    # No secrets of the control plane: its own environment is not passed on.
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    log_start = log_files.read_size(context.log)
    try:
        outcome = runner.run(
            list(argv),
            cwd=context.config.home,
            log=context.log,
            timeout=seconds,
            env=env,
            stop=context.is_stopping,
            masks=read_masks(context.config),
        )
    except OSError as error:
        raise Unhealthy(f"{subject} cannot be started: {error}.") from error
    context.raise_if_stopping()
    if outcome.exit_code != 0:
        message = log_message.read_message(context.log, log_start)
        raise Unhealthy(f"{subject} {outcome.failure}: {message}")
