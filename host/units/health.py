"""Whether a unit does its job: probes of its process, its port and its health path."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from host import http_client, log_message
from host.deadline import Deadline, Probing
from host.http_client import Response
from host.process.socket_owner import Socket
from host.units.listeners import (
    describe_socket,
    describe_wrong_addresses,
    find_reachable_address,
)
from host.units.unit import HealthCheck, Unit, UnitManager, UnitStatus

PROBE_SECONDS = 5.0
# For the body of the answer to a guess, whose status is what counts.
BODY_SECONDS = 1.0
# A unit that gave the same wrong answer for so long is not waited for any longer.
STEADY_SECONDS = 10.0
# Nor one that serves elsewhere than on its port for so long, and for this part of the time that it
# has: it may be slow, and a port of its metrics be open before it serves.
ELSEWHERE_PART = 0.25
LOOK_SECONDS = 1.0
METRICS = "version=0.0.4"  # Prometheus' text format
# These statuses say of themselves that they are temporary (RFC 9110, 15.6.3 to 15.6.5).
TEMPORARY_STATUSES = (502, 503, 504)
QUOTED_BYTES = 160
SPEAKS_TLS = (
    "It speaks TLS on its port: it must speak plain HTTP there. Visitors come over https to the "
    "proxy in front of it, which says so in X-Forwarded-Proto."
)


@dataclass(frozen=True)
class Health:
    """Whether a unit does its job, the reason as a sentence, and the answer of its health path.

    `was_asked`: the path was requested, so another path may be the remedy.
    """

    ok: bool
    reason: str
    body: bytes = b""
    response: Response | None = None
    was_asked: bool = False


def probe_unit(
    status: UnitStatus,
    port: int,
    path: str,
    timeout: float = PROBE_SECONDS,
    host: str = "",
) -> Health:
    """Return whether the unit runs, it alone listens on the port, and `path` answers 2xx.

    `host` is the Host header, by default 127.0.0.1 and the port. The request is limited to
    `timeout` seconds and 64 KiB.
    """
    return probe(status, port, HealthCheck(path, host=host), timeout)


def probe(
    status: UnitStatus, port: int, check: HealthCheck, timeout: float = PROBE_SECONDS
) -> Health:
    """Return whether the unit runs, it alone listens on the port, and passes the check.

    The request is limited to `timeout` seconds and 64 KiB.
    """
    if not status.is_active:
        return Health(False, f"It {status.failure or 'does not run.'}")
    # Before the request: another process on the port may answer it with 200.
    if status.listening == "foreign":
        return Health(False, f"Port {port} is held by {status.port_holder}, not by this unit.")
    if status.listening == "none":
        return Health(False, f"It does not listen on port {port}.")
    try:
        response = http_client.get(
            port,
            check.path,
            headers=check.headers,
            host=check.host,
            seconds=timeout,
            body_seconds=BODY_SECONDS if check.is_guess else None,
        )
    except TimeoutError:
        seconds = f"{timeout:.1f}".removesuffix(".0")
        reason = f"{check.path} did not answer within {seconds} s."
        return Health(False, reason, was_asked=True)
    except (OSError, ValueError) as error:
        if http_client.speaks_tls(port, timeout):
            return Health(False, SPEAKS_TLS)
        return Health(False, f"{check.path} did not answer: {error}.", was_asked=True)
    # How some servers of TLS answer plain HTTP; a guessed path accepts any answer below 500.
    if response.status == 400 and check.is_guess and http_client.speaks_tls(port, timeout):
        return Health(False, SPEAKS_TLS)
    is_ok = check.accepts(response.status)
    reason = f"{check.path} answered {response.status}."
    return Health(is_ok, reason, response.body, response, was_asked=True)


def wait_until_healthy(
    manager: UnitManager,
    unit: Unit,
    seconds: float,
    stop: Callable[[], bool] | None = None,
) -> Health:
    """Probe a started unit until it is healthy, it ends, or `seconds` are over.

    It also ends when the same wrong answer has come for STEADY_SECONDS, or when its path was
    answered elsewhere than on its port for a quarter of the time. Returns the last result; the
    reason of an unhealthy one says where it does listen. `stop` is called between the probes; true
    ends the wait.
    """
    if unit.port is None:
        raise ValueError(f"{unit.name} has no port to probe")
    health = _wait_for_health(manager, unit, unit.port, Deadline(seconds), stop)
    if health.ok or not manager.status(unit.name, unit.port).is_active:
        return health
    where = describe_wrong_addresses(
        manager.list_listeners(unit.name),
        unit.port,
        manager.list_unix_listeners(unit.name),
        is_refused=_is_refused(health),
    )
    return replace(health, reason=f"{health.reason} {where}".rstrip())


def _wait_for_health(
    manager: UnitManager,
    unit: Unit,
    port: int,
    deadline: Deadline,
    stop: Callable[[], bool] | None,
) -> Health:
    steady, steady_answer, probing = Deadline(STEADY_SECONDS), "", Probing()
    elsewhere = _Elsewhere(manager, unit, port, deadline.seconds_left * ELSEWHERE_PART)
    while True:
        status = manager.status(unit.name, port)
        timeout = max(0.1, min(PROBE_SECONDS, deadline.seconds_left))
        # Before the probe: once the deadline has passed, one more is made after the last sleep.
        is_last = deadline.has_passed or not status.is_active
        health = probe(status, port, unit.health, timeout)
        answer = _name_answer(health)
        if answer != steady_answer or not answer:
            steady, steady_answer = Deadline(STEADY_SECONDS), answer
        is_in_vain = steady.has_passed or elsewhere.has_lasted(status, health)
        if health.ok or is_last or is_in_vain or (stop is not None and stop()):
            return health
        probing.pause()


class _Elsewhere:
    """Whether a unit has served elsewhere than on its port for so long that it will not change."""

    def __init__(self, manager: UnitManager, unit: Unit, port: int, seconds: float) -> None:
        self._manager, self._unit, self._port = manager, unit, port
        self._seconds = max(STEADY_SECONDS, seconds)
        self._found, self._steady = "", Deadline(self._seconds)
        self._pause = Deadline(LOOK_SECONDS)

    def has_lasted(self, status: UnitStatus, health: Health) -> bool:
        """Look once in LOOK_SECONDS, and return whether it was there each time for long enough."""
        if not self._pause.has_passed:
            return False
        is_closed = status.is_active and (status.listening == "none" or _is_refused(health))
        found = self._find() if is_closed else ""
        if found != self._found or not found:
            self._found, self._steady = found, Deadline(self._seconds)
        self._pause = Deadline(LOOK_SECONDS)
        return bool(found) and self._steady.has_passed

    def _find(self) -> str:
        """Return the address of a server on its port, or that answers its path; "" if none is."""
        listeners = self._manager.list_listeners(self._unit.name)
        for one in sorted(listeners, key=lambda one: (one.port != self._port, one.port)):
            if one.port == self._port or _answers(one, self._unit.health):
                return describe_socket(one)
        return ""


def _answers(listener: Socket, check: HealthCheck) -> bool:
    try:
        response = http_client.get(
            listener.port,
            check.path,
            headers=check.headers,
            host=check.host,
            seconds=BODY_SECONDS,
            body_seconds=BODY_SECONDS,
            address=find_reachable_address(listener),
        )
    except (OSError, ValueError):
        return False
    kind = response.headers.get("content-type", "")
    # A port for a debugger answers 400, one for metrics every path.
    return check.accepts(response.status) and response.status < 400 and METRICS not in kind


def _is_refused(health: Health) -> bool:
    """Return whether 127.0.0.1 refused the probe's connection."""
    return os.strerror(errno.ECONNREFUSED) in health.reason


def _name_answer(health: Health) -> str:
    """Return what was answered, to compare it with the next answer; "" for what is temporary."""
    if health.response is None:
        return health.reason if health.reason == SPEAKS_TLS else ""
    status = health.response.status
    return "" if status in TEMPORARY_STATUSES else str(status)


def describe_failed_start(
    health: Health, unit: Unit, since: int = 0, key: str = "[backend]"
) -> str:
    """Return why an application's unit did not become healthy, and what to change.

    After the reason: what its health path answered, the table of the manifest that sets the path
    (`key`), and the last words of its log after the byte `since`.
    """
    parts = [health.reason]
    if health.was_asked and not health.ok:
        answer = "" if health.response is None else _describe_answer(health.response)
        parts += [answer, _describe_remedy(unit.health, key)]
    # The reason of a unit that ended quotes its log already.
    message = log_message.read_message(unit.log, since) if "says:" not in health.reason else ""
    sentences = " ".join(part for part in parts if part)
    return f"{sentences} {unit.log} says:\n{message}" if message else sentences


def _describe_answer(response: Response) -> str:
    location = response.headers.get("location", "")
    text = log_message.strip_terminal_codes(response.body[:QUOTED_BYTES].decode(errors="replace"))
    words = " ".join(text.split())
    quoted = f"It answered: {words!r}." if words else "The answer is empty."
    return f"Location: {location[:QUOTED_BYTES]!r}. {quoted}" if location else quoted


def _describe_remedy(check: HealthCheck, key: str) -> str:
    wanted = "below 500" if check.is_guess else "2xx"
    guess = f"no health_path is stated, so {check.path} is probed"
    stated = guess if check.is_guess else f"health_path is {check.path}"
    return (
        f"The answer must be {wanted}: {stated}; set `health_path` under {key} in "
        "oroboros.toml to a path that answers 2xx."
    )
