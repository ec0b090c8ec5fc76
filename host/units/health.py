"""Whether a unit does its job: probes of its process, its port and its health path."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from host import http_client
from host.deadline import Deadline
from host.units.listeners import describe_wrong_addresses
from host.units.unit import POLL_SECONDS, Unit, UnitManager, UnitStatus

PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Health:
    """Whether a unit does its job, the reason as a sentence, and the body of its health path."""

    ok: bool
    reason: str
    body: bytes = b""


def probe_unit(
    status: UnitStatus,
    port: int,
    path: str,
    timeout: float = PROBE_SECONDS,
    host: str = "127.0.0.1",
) -> Health:
    """Return whether the unit runs, it alone listens on the port, and `path` answers 2xx.

    `host` is the name in the Host header. The request is limited to `timeout` seconds and 64 KiB.
    """
    if not status.is_active:
        return Health(False, f"It {status.failure or 'does not run.'}")
    # Before the request: another process on the port may answer it with 200.
    if status.listening == "foreign":
        return Health(False, f"Port {port} is held by {status.port_holder}, not by this unit.")
    if status.listening == "none":
        return Health(False, f"It does not listen on port {port}.")
    try:
        response = http_client.get(port, path, host=host, seconds=timeout)
    except TimeoutError:
        return Health(False, f"{path} did not answer within {timeout:.0f} s.")
    except (OSError, ValueError) as error:
        return Health(False, f"{path} did not answer: {error}.")
    is_ok = 200 <= response.status < 300
    return Health(is_ok, f"{path} answered {response.status}.", response.body)


def wait_until_healthy(
    manager: UnitManager,
    unit: Unit,
    seconds: float,
    stop: Callable[[], bool] | None = None,
    host: str = "127.0.0.1",
) -> Health:
    """Probe a started unit until it is healthy, it ends, or `seconds` are over.

    Returns the last result; the reason of an unhealthy one says where it does listen. `stop` is
    called between the probes; true ends the wait.
    """
    if unit.port is None:
        raise ValueError(f"{unit.name} has no port to probe")
    health = _wait_for_health(manager, unit, unit.port, Deadline(seconds), stop, host)
    if health.ok or not manager.status(unit.name, unit.port).is_active:
        return health
    where = describe_wrong_addresses(manager.list_listeners(unit.name), unit.port)
    return replace(health, reason=f"{health.reason} {where}".rstrip())


def _wait_for_health(
    manager: UnitManager,
    unit: Unit,
    port: int,
    deadline: Deadline,
    stop: Callable[[], bool] | None,
    host: str,
) -> Health:
    while True:
        status = manager.status(unit.name, port)
        timeout = max(0.1, min(PROBE_SECONDS, deadline.seconds_left))
        # Before the probe: once the deadline has passed, one more is made after the last sleep.
        is_last = deadline.has_passed or not status.is_active
        health = probe_unit(status, port, unit.health_path, timeout, host)
        if health.ok or is_last or (stop is not None and stop()):
            return health
        time.sleep(POLL_SECONDS)
