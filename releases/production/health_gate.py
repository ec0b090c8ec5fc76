"""The health gate after a switch: for a stated time every probe must be good."""

import http.client
import os
import time
from typing import TYPE_CHECKING

from host.app.command_line import Argv
from host.files import safe_files
from host.process import runner
from host.units import managers
from releases.models import Activation
from releases.production import app
from releases.production.app import Unhealthy

if TYPE_CHECKING:  # it carries what is probed here
    from releases.deployments.switch import Carrier

PAUSE_SECONDS = 0.25
PROBE_SECONDS = 5.0
SETTLE_SECONDS = 10.0
COMMIT_HEADER = "X-Oroboros-Commit"


def reload(carrier: "Carrier", way: str = "there") -> None:
    """Run the reload hook, where there is one. Raises Unhealthy.

    One that restarts us ends this very process; the next one must not begin it again. `way` tells
    the hook of an activation from the one that takes it back.
    """
    hooks = carrier.hooks
    if hooks.reload is None:
        return
    if hooks.restarts_us:
        begun = carrier.config.var / "run" / "reload.begun"
        this = f"{carrier.activation.number} {way}"
        if begun.exists() and begun.read_text() == this:
            return
        safe_files.write_atomic(begun, this.encode(), 0o600)
    _command(carrier, hooks.reload, hooks.reload_seconds, "The reload hook")


def watch(carrier: "Carrier") -> None:
    """Probe for the gate's time. Raises Unhealthy at the first probe that is not good."""
    deadline = time.monotonic() + carrier.hooks.health_seconds
    while True:
        look(carrier, carrier.activation)
        if time.monotonic() >= deadline:
            return
        carrier.check()
        time.sleep(PAUSE_SECONDS)


def settle(carrier: "Carrier", activation: Activation) -> None:
    """Wait until the release made live again answers. Raises Unhealthy with the last reason."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return look(carrier, activation)
        except Unhealthy:
            if time.monotonic() >= deadline:
                raise
        carrier.check()
        time.sleep(PAUSE_SECONDS)


def look(carrier: "Carrier", activation: Activation) -> None:
    """Probe once: colour, surface with its commit, the operator's command. Raises Unhealthy."""
    unit = app.unit(carrier.config, activation.release, activation.colour)
    if unit is not None and unit.port is not None:
        status = managers.manager(carrier.config).status(unit.name, unit.port)
        health = managers.probe(status, unit.port, unit.health_path, PROBE_SECONDS)
        if not health.ok:
            raise Unhealthy(f"The backend of {activation.release} is not healthy: {health.reason}")
    _surface(carrier.config.web_port, activation.release.commit_sha)
    hooks = carrier.hooks
    if hooks.healthcheck is not None:
        _command(carrier, hooks.healthcheck, hooks.healthcheck_seconds, "The health check")


def _surface(port: int, commit: str) -> None:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PROBE_SECONDS)
    try:
        link.request("GET", "/health")
        answer = link.getresponse()
        shown = answer.headers.get(COMMIT_HEADER)
    except (OSError, http.client.HTTPException) as error:
        raise Unhealthy(f"The surface on port {port} did not answer: {error}.") from error
    finally:
        link.close()
    if answer.status != 200:
        raise Unhealthy(f"The surface on port {port} answered {answer.status}.")
    if shown != commit:
        raise Unhealthy(f"The surface on port {port} shows commit {shown}, not {commit}.")


def _command(carrier: "Carrier", argv: Argv, seconds: float, name: str) -> None:
    env = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
    try:
        outcome = runner.run(
            list(argv),
            cwd=carrier.config.home,
            log=carrier.log,
            timeout=seconds,
            env=env,
            stop=carrier.stopping,
        )
    except OSError as error:
        raise Unhealthy(f"{name} cannot be started: {error}.") from error
    carrier.check()
    if outcome.exit_code != 0:
        how = "took too long" if outcome.timed_out else f"ended with exit code {outcome.exit_code}"
        raise Unhealthy(f"{name} {how}: {safe_files.read_tail(carrier.log, 5)}")
