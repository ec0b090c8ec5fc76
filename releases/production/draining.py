"""When the colour of an earlier release may be stopped: its requests or its time have ended."""

from collections.abc import Callable

from core.clock import get_database_time
from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from host.process import socket_owner
from host.units import managers
from releases.builds.launch_spec import read_launch_spec
from releases.models import Deployment, Release
from releases.production import app_instance, colours, current_link
from releases.production.deploy_settings import DeploySettings
from releases.production.deployment_context import DeploymentContext
from releases.rules import DeploymentOutcome, is_drained

POLL_SECONDS = 0.1
# The surface tries an address that does not answer for 5 s (lb_try_duration), whose headers it has
# set by then: another release must not listen there before such requests have ended.
PORT_REUSE_SECONDS = 6.0
# So long the caller of a deployment waits for the requests; afterwards the reconciler does.
WAIT_SECONDS = 2.0


def is_draining(config: Config, colour: str) -> bool:
    """Return whether the colour, which is not live, still has requests and time to end them."""
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    if live is None or live.switched_at is None:
        return False
    seconds = (get_database_time() - live.switched_at).total_seconds()
    ports = (colours.port(config, colour), *config.server_ports[colour])
    connections = sum(map(socket_owner.count_connections, ports))
    return not is_drained(connections, seconds, _find_limit(config, colour))


def has_waiting_requests(config: Config, colour: str) -> bool:
    """Return whether the surface may still try the colour's port for requests that it did not take.

    It may if the colour, which is not live, has ended by itself. One that listens until it is
    stopped takes every request of the time before the link was switched.
    """
    is_recent = current_link.read_age(config) < PORT_REUSE_SECONDS
    manager = managers.get_manager(config)
    names = {colours.unit_name(colour), *app_instance.list_units(config, colour)}
    return is_recent and any(manager.status(name).listening != "ours" for name in names)


def must_be_kept(config: Config, colour: str) -> bool:
    """Return whether the colour, which is not live, has requests, in its process or for its port.

    While it is kept, no other release takes its port.
    """
    return is_draining(config, colour) or has_waiting_requests(config, colour)


def stop_drained_colours(config: Config) -> None:
    """Stop the colours that are not live, unless their requests take longer than WAIT_SECONDS.

    The deployment is over: another one may begin during the wait, and decides about both colours.
    """

    def is_decided() -> bool:
        idle = colours.list_idle_colours(config)
        is_busy = any(must_be_kept(config, colour) for colour in idle)
        return not is_busy or Deployment.objects.running().exists()

    try:
        wait_until(is_decided, seconds=WAIT_SECONDS, interval=POLL_SECONDS)
    except Refused:
        return  # the reconciler tries again
    colours.stop_idle_colours(config, unless=lambda colour: must_be_kept(config, colour))


def wait_until_replaceable(context: DeploymentContext) -> None:
    """Wait until no request waits for the release that the deployment's colour served before.

    Neither in that release's process nor for its port. If it is the deployment's own release, as
    for a rollback, its process goes on serving.
    """
    deployment = context.deployment
    served = _find_served(deployment.colour)
    if served is None or served.release_id == deployment.release_id:
        return
    _wait_until_drained(context, deployment.colour)
    remaining = PORT_REUSE_SECONDS - current_link.read_age(context.config)
    # A release that failed was stopped at once, and may have ended by itself before.
    if served.outcome != DeploymentOutcome.SUCCEEDED and remaining > 0:
        context.report_progress("waiting for requests to the port's earlier release")
        # At most, because the clock may have been set back since.
        _wait(context, lambda: False, min(remaining, PORT_REUSE_SECONDS))


def _wait_until_drained(context: DeploymentContext, colour: str) -> None:
    config = context.config
    if colour not in colours.list_idle_colours(config) or not must_be_kept(config, colour):
        return
    context.report_progress("waiting for the requests of an earlier release")
    seconds = max(_find_limit(config, colour), PORT_REUSE_SECONDS)
    _wait(context, lambda: not must_be_kept(config, colour), seconds)


def _wait(context: DeploymentContext, is_over: Callable[[], bool], seconds: float) -> None:
    wait_until(is_over, seconds=seconds, interval=POLL_SECONDS, stop=context.is_stopping)
    context.raise_if_stopping()


def _find_limit(config: Config, colour: str) -> float:
    """Return how many seconds the release that the colour served has to end its requests."""
    served = _find_served(colour)
    try:
        spec = read_launch_spec(config, served.release_id) if served is not None else None
    except Refused:  # its build was removed
        spec = None
    limit = spec.manifest.stop_timeout if spec is not None else None
    return DeploySettings.read_or_default(config)[0].drain_seconds if limit is None else limit


def _find_served(colour: str) -> Deployment | None:
    """Return the last deployment that went live as the colour."""
    switched = Deployment.objects.filter(colour=colour, switched_at__isnull=False)
    return switched.order_by("-number").first()
