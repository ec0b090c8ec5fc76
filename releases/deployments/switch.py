"""One switch of production: its steps in order, each of which may be begun again after a crash.

Nothing here remembers what it did: the row, the link and the processes are looked at. The claim on
the row (30 s, renewed) says who carries it; a rival finds the row and does nothing.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from core import claims
from core.claims import CLAIM_SECONDS, Claim
from host.config import Config
from host.errors import Refused
from host.units import jobs
from releases.deployments.hooks import Hooks
from releases.models import Activation, ActivationLost, Release
from releases.production import app, current_link, database, health_gate
from releases.production.app import Unhealthy
from releases.production.database import MigrationFailed
from releases.rules import ActivationKind, ActivationOutcome, rollback_command

logger = logging.getLogger(__name__)

# Who finds another at work on the same activation waits until that one's claim would be over.
WAIT_SECONDS = CLAIM_SECONDS + 5.0
ATTEMPTS = 3


class ActivationFailed(Exception):
    """The release did not go live; `guidance` is the exact commands for this case."""

    def __init__(self, activation: Activation) -> None:
        super().__init__(activation.detail)
        self.activation = activation
        self.detail = activation.detail
        self.guidance: list[str] = list(activation.guidance)
        self.is_stuck = activation.outcome == ActivationOutcome.STUCK


@dataclass
class Carrier:
    """What the steps of one activation may use."""

    config: Config
    activation: Activation
    claim: Claim
    log: Path
    hooks: Hooks
    stop: Callable[[], bool]
    progress: Callable[[str], None]
    # The colour it takes over from; None where nothing was live.
    serving: Activation | None = field(init=False)

    def __post_init__(self) -> None:
        self.serving = serving(self.activation.previous, before=self.activation)

    @property
    def release(self) -> Release:
        return self.activation.release

    @property
    def job(self) -> str:
        """The mark of the migrations of this activation, whoever carries it."""
        return f"activation:{self.activation.number}"

    def stopping(self) -> bool:
        """Tell a command under way whether to end."""
        return self.claim.is_lost or self.stop()

    def check(self) -> None:
        """Stop before the next effect if the claim is lost or the caller is to stop."""
        if self.stopping():
            raise ActivationLost

    def say(self, text: str) -> None:
        """Tell whoever waits, the row and the log what is done now."""
        self.check()
        note(self.log, text)
        self.progress(text)
        self.activation.write(self.claim, progress=text[:200])


def note(log: Path, text: str) -> None:
    """Add a line to a log; a full disk must not come between production and its way back."""
    with suppress(OSError):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(text.rstrip("\n") + "\n")


def default_log(config: Config, activation: Activation) -> Path:
    """Return the log of an activation that belongs to no run."""
    return config.var / "log" / "releases" / f"activation-{activation.number}.log"


def serving(release: Release | None, before: Activation | None = None) -> Activation | None:
    """Return the activation by which `release` serves, or served before that other one."""
    if release is None:
        return None
    switched = Activation.objects.filter(release=release, switched_at__isnull=False)
    if before is not None:
        switched = switched.filter(number__lt=before.number)
    return switched.order_by("-number").select_related("release").first()


@contextmanager
def carried(
    config: Config,
    activation: Activation,
    *,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Callable[[str], None] | None = None,
    wait: float = WAIT_SECONDS,
) -> Iterator[Carrier | None]:
    """Take the activation and keep the claim while the body works; None if it is over.

    Raises Refused `activation_in_progress` if another process still carries it after `wait`
    seconds, ActivationFailed with all undone again where the hooks are not configured rightly.
    """
    claim = _take(activation, wait)
    activation.refresh_from_db()
    if claim is None:
        yield None
        return
    hooks, problem = Hooks.read_or_default(config)
    with claims.kept(Activation.objects.all(), claim):
        carrier = Carrier(
            config,
            activation,
            claim,
            log or default_log(config, activation),
            hooks,
            stop or (lambda: False),
            progress or (lambda text: None),
        )
        if claim.fence > 1:  # who carried it before may have been killed amid migrations
            jobs.kill_marked(carrier.job)
        if problem:
            undo(carrier, f"{problem} No hook was run.")
        yield carrier


def _take(activation: Activation, wait: float) -> Claim | None:
    owner = claims.owner_name()
    deadline = time.monotonic() + wait
    while True:
        claim = Activation.objects.running().claim(activation.number, owner)
        if claim is not None:
            return claim
        activation.refresh_from_db()
        if activation.is_over:
            return None
        if time.monotonic() >= deadline:
            raise Refused("activation_in_progress", f"Another process works on {activation}.")
        time.sleep(0.2)


def advance_to_switch(carrier: Carrier) -> None:
    """Take the release as far as the switch. Raises ActivationFailed, with all undone again."""
    activation = carrier.activation
    if activation.detail:  # it was being undone when it was interrupted
        undo(carrier, activation.detail)
    if activation.switched_at is not None:
        return
    if activation.attempts > ATTEMPTS:
        undo(carrier, "Each process that carried it died; nothing more is tried.")
    try:
        _switch(carrier)
    except (Unhealthy, MigrationFailed, Refused) as failed:
        undo(carrier, str(failed))
    except OSError as error:
        undo(carrier, f"The machine said no: {error}.")


def _switch(carrier: Carrier) -> None:
    config, activation = carrier.config, carrier.activation
    if activation.kind == ActivationKind.DEPLOY:
        database.migrate(carrier)
    carrier.say(f"starting {activation.release} as {activation.colour}")
    with database.noting_changes(carrier), app.colours_locked(config):
        app.start_colour(carrier, activation)
    live = current_link.Pointer(
        activation.number,
        f"127.0.0.1:{app.port(config, activation.colour)}",
        carrier.release.commit_sha,
    )
    before = activation.previous
    current_link.write(
        config,
        live,
        app.public(config, carrier.release),
        app.public(config, before) if before is not None else None,
    )
    carrier.say("switching")
    with app.colours_locked(config):  # so that the reconciler never sees one without other
        current_link.switch(config, activation.number)
        activation.go_live(carrier.claim)
    note(carrier.log, f"{carrier.release} is live as activation {activation.number}")


def advance_to_end(carrier: Carrier) -> None:
    """After the switch: reload hook and health gate. Raises ActivationFailed, with all undone."""
    activation = carrier.activation
    if activation.detail:
        undo(carrier, activation.detail)
    if activation.attempts > 2 * ATTEMPTS:
        undo(carrier, "Each process that carried it died; nothing more is tried.")
    try:
        if activation.is_gated:
            carrier.say("reloading the backend")
            health_gate.reload(carrier)
            carrier.say("health gate")
            health_gate.watch(carrier)
        else:
            note(carrier.log, "No file of the backend changed: no reload, no health gate.")
    except (Unhealthy, Refused) as failed:
        undo(carrier, str(failed))
    except OSError as error:
        undo(carrier, f"The machine said no: {error}.")
    activation.succeed(carrier.claim)
    note(carrier.log, f"{carrier.release} is healthy")


def undo(carrier: Carrier, why: str) -> None:
    """Make live again what was, and raise ActivationFailed. It may be begun again."""
    activation = carrier.activation
    if not activation.detail:
        activation.write(carrier.claim, detail=why)
    note(carrier.log, f"failed: {why}")
    outcome, more = _restored(carrier)
    detail = " ".join(part for part in (why, more) if part)
    activation.fail(carrier.claim, outcome, detail, guidance(carrier, outcome))
    if outcome == ActivationOutcome.STUCK:
        logger.critical("production is stuck: activation %s: %s", activation.number, detail)
    note(carrier.log, "\n".join([detail, *activation.guidance]))
    app.stop_others(carrier.config)
    raise ActivationFailed(activation)


def _restored(carrier: Carrier) -> tuple[ActivationOutcome, str]:
    """Point the link back where it leads to this activation; say how that went."""
    config, activation, before = carrier.config, carrier.activation, carrier.serving
    now = current_link.read(config)
    if activation.switched_at is None and (now is None or now.number != activation.number):
        serves = f"{before.release} still serves." if before else "Nothing was live before."
        return ActivationOutcome.FAILED, f"Nothing was switched; {serves}"
    if before is None:
        current_link.clear(config)
        return ActivationOutcome.FAILED, "Nothing was live before, and nothing is now."
    try:
        with app.colours_locked(config):
            app.start_colour(carrier, before)
    except (Unhealthy, Refused, OSError) as failed:
        current_link.switch(config, before.number)
        return ActivationOutcome.STUCK, f"{before.release} is live again and not healthy: {failed}"
    current_link.switch(config, before.number)
    try:
        if activation.is_gated:
            health_gate.reload(carrier, "back")
        health_gate.settle(carrier, before)
    except (Unhealthy, Refused, OSError) as failed:
        return ActivationOutcome.STUCK, f"{before.release} is live again and not healthy: {failed}"
    return ActivationOutcome.RESTORED, f"{before.release} is live again."


def guidance(carrier: Carrier, outcome: ActivationOutcome) -> list[str]:
    """Return the commands for this very case, in the order in which a person would try them."""
    release, before = carrier.release, carrier.serving
    release.refresh_from_db()
    lines = [f"tail -n 200 {app.log(carrier.config, carrier.activation.colour)}"]
    lines.append("./scripts/runtime-health-check.sh")
    if outcome == ActivationOutcome.STUCK and before is not None:
        lines.append(f"tail -n 200 {app.log(carrier.config, before.colour)}")
        ways = Release.objects.healthy().exclude(pk__in=[release.pk, before.release_id])[:2]
        lines += [rollback_command(way.release_id) for way in ways]
    if release.restore_command:
        lines.append(release.restore_command)
    if carrier.activation.kind == ActivationKind.DEPLOY:
        lines.append(f"./scripts/deploy.sh {release.commit_sha}")
    return lines
