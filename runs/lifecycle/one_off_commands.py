"""Commands that a person runs once in a preview or in production, such as a Django shell.

They run as the backend does: as its user, with its environment, in its folder. Start and end are
events. A command in a preview ends with the run's lease.
"""

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from django.db import DatabaseError, connection

from core.audit_trail import Entry, append_entry
from core.clock import ClockTimestamp
from host.config import Config, SlotConfig
from host.errors import Refused
from host.process import runner, terminal_relay
from host.process.outcome import Outcome
from host.process.users import User
from host.units.jobs import JobUser
from releases.models import Deployment, Release
from releases.production import colours
from runs.engine.events import record_event
from runs.models import Run
from slots.models import Lease
from slots.runtime import spec as specs

# A command in production ends after so long; one in a preview with the lease, whose longest it is.
LONGEST_SECONDS = 72 * 3600.0
LEASE_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Target:
    """Where a command runs. `lease` is that of a preview's run, `data` the event's fields."""

    name: str
    cwd: Path
    env: dict[str, str]
    user: User | None
    data: dict[str, str]
    run: Run | None = None
    lease: Lease | None = None

    @property
    def slot_id(self) -> str:
        return "" if self.run is None else self.name


def find_slot_target(config: Config, slot: SlotConfig) -> Target:
    """Return the preview that the slot has now. Raises Refused `slot_is_free`, `no_backend`."""
    leases = Lease.objects.on_host(config.host_name).valid(ClockTimestamp())
    lease = leases.filter(slot__slot_id=slot.slot_id).select_related("run", "slot").first()
    if lease is None:
        raise Refused("slot_is_free", f"{slot.slot_id} has no preview now: nothing can run there.")
    spec = specs.read(slot)
    if spec.is_idle or spec.run_id != str(lease.run.pk):
        detail = f"{slot.slot_id} has no backend now: its preview is not ready, or has files only."
        raise Refused("no_backend", detail)
    data = {"commit": spec.commit}
    env, user = specs.read_environment(slot), config.slot_user(slot)
    return Target(slot.slot_id, spec.cwd, env, user, data, lease.run, lease)


def find_production_target(config: Config) -> Target:
    """Return the live release. Raises Refused `no_release`, `no_backend`, `release_corrupt`."""
    release = Release.objects.live()
    deployment = Deployment.objects.latest_switch_to(release) if release is not None else None
    if release is None or deployment is None:
        raise Refused("no_release", "No release is live: nothing can run in production.")
    unit = colours.make_unit(config, release, deployment.colour)
    if unit is None:
        raise Refused("no_backend", f"{release} has no backend: nothing can run in production.")
    data = {"release": release.pk, "commit": release.commit_sha}
    return Target("production", unit.cwd, dict(unit.env), unit.user, data)


def run_one_off(
    target: Target,
    argv: Sequence[str],
    *,
    actor: str,
    reason: str,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, str]:
    """Run the command on our terminal or files; record its start and its end.

    It ends with the target's lease, or when `is_interrupted`. Returns the outcome and how it ended,
    to end a sentence. Raises Refused `command_refused` if there is no such program,
    `command_runs`, `job_refused`.
    """
    words = shlex.join(argv)
    facts: dict[str, object] = {"command": words, "reason": reason}
    because = f": {reason}" if reason else ""
    _record(target, "command_started", f"`{words}` in {target.name}{because}", actor, facts)
    append_entry(Entry("command", actor, target=target.name, reason=reason, detail=words))
    begun = time.monotonic()
    watch = _watch_lease(target)
    try:
        outcome = _run_attached(target, list(argv), lambda: is_interrupted() or watch())
    except (Refused, OSError) as error:
        refused = error if isinstance(error, Refused) else _refuse_start(argv[0], error)
        text = f"`{words}` in {target.name} was not started: {refused.detail}"
        _record(target, "command_ended", text, actor, facts)
        raise refused from error
    how = describe_end(outcome.exit_code, has_lease=_has_lease(target))
    facts |= {"exit_code": outcome.exit_code, "seconds": round(time.monotonic() - begun, 1)}
    _record(target, "command_ended", f"`{words}` in {target.name} {how}", actor, facts)
    return outcome, how


def _refuse_start(program: str, error: OSError) -> Refused:
    return Refused("command_refused", f"{program} cannot be started: {error.strerror}.")


def describe_end(exit_code: int | None, *, has_lease: bool) -> str:
    """Return how a command ended, to end a sentence."""
    if not has_lease:
        return "was ended with the lease of its preview"
    return "was ended" if exit_code is None else f"ended with exit code {exit_code}"


def _record(target: Target, kind: str, text: str, actor: str, facts: Mapping[str, object]) -> None:
    data = {**target.data, **facts}
    record_event(kind, text, actor=actor, run=target.run, slot_id=target.slot_id, **data)


def _run_attached(target: Target, argv: list[str], stop: Callable[[], bool]) -> Outcome:
    user = target.user
    if isinstance(user, JobUser):
        user = replace(user, is_one_off=True)
    is_interactive = terminal_relay.is_interactive()
    attach = terminal_relay.attach_terminal if is_interactive else terminal_relay.attach_files
    with attach() as streams:
        return runner.run_attached(
            terminal_relay.wrap_argv(argv) if is_interactive else argv,
            cwd=target.cwd,
            env=target.env,
            user=user,
            streams=streams,
            timeout=LONGEST_SECONDS,
            stop=stop,
        )


def _watch_lease(target: Target) -> Callable[[], bool]:
    """Return the `stop` of a command: whether the lease of the target's run has ended."""
    next_poll = 0.0

    def has_ended() -> bool:
        nonlocal next_poll
        if time.monotonic() < next_poll:
            return False
        next_poll = time.monotonic() + LEASE_POLL_SECONDS
        return not _has_lease(target)

    return has_ended


def _has_lease(target: Target) -> bool:
    """Return whether the target's lease is still valid; production needs none."""
    lease = target.lease
    if lease is None:
        return True
    try:
        valid = Lease.objects.valid(ClockTimestamp())
        return valid.filter(pk=lease.pk, fence=lease.fence).exists()
    except DatabaseError:  # it restarts: the command goes on, and the lease is asked for again
        connection.close()
        return True
