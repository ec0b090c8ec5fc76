"""Long-running processes with a name: started, stopped and looked at the same way everywhere.

Status is probed, never remembered.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from host import http_client
from host.config import Config
from host.units import base as shared
from host.units.base import Manager, Status, Unit
from host.units.local_manager import LocalManager
from host.units.systemd_manager import SystemdManager

__all__ = [
    "Health",
    "LocalManager",
    "Manager",
    "Status",
    "SystemdManager",
    "Unit",
    "manager",
    "probe",
    "wait_healthy",
]


@dataclass(frozen=True)
class Health:
    """Whether a unit does its job, why not in a sentence, and what its health path said."""

    ok: bool
    reason: str
    body: bytes = b""


def probe(
    status: Status, port: int, path: str, timeout: float = 5.0, host: str = "127.0.0.1"
) -> Health:
    """Say whether the unit is healthy: it runs, it alone listens on the port, `path` answers 2xx.

    `host` is what the Host header says. Bounded by `timeout` seconds and 64 KiB.
    """
    if not status.active:
        return Health(False, f"It {status.last_words or 'does not run.'}")
    if status.listening == "foreign":
        return Health(False, f"Port {port} is held by {status.holder}, not by this unit.")
    if status.listening == "none":
        return Health(False, f"It does not listen on port {port}.")
    try:
        answer = http_client.get(port, path, host=host, seconds=timeout)
    except TimeoutError:
        return Health(False, f"{path} did not answer within {timeout:.0f} s.")
    except (OSError, ValueError) as error:
        return Health(False, f"{path} did not answer: {error}.")
    if not 200 <= answer.status < 300:
        return Health(False, f"{path} answered {answer.status}.", answer.body)
    return Health(True, f"{path} answered {answer.status}.", answer.body)


def wait_healthy(
    manager: Manager,
    unit: Unit,
    seconds: float,
    stop: Callable[[], bool] | None = None,
    host: str = "127.0.0.1",
) -> Health:
    """Probe a started unit until it is healthy, ends, or `seconds` are over; returns the last look.

    `stop` is asked between the probes.
    """
    if unit.port is None:
        raise ValueError(f"{unit.name} has no port to probe")
    deadline = time.monotonic() + seconds
    while True:
        status = manager.status(unit.name, unit.port)
        left = deadline - time.monotonic()
        health = probe(status, unit.port, unit.health_path, max(0.1, min(5.0, left)), host)
        over = left <= 0 or not status.active or (stop is not None and stop())
        if health.ok or over:
            return health
        time.sleep(shared.LOOK_SECONDS)


def manager(config: Config) -> Manager:
    """Return what keeps this checkout's units: systemd only where they are installed for it."""
    return SystemdManager(config) if config.is_systemd else LocalManager(config)
