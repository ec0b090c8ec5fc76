"""Making releases live: by a deploy, by a rollback, and by whoever finishes what was interrupted.

One code path for the pipeline, the commands, the API and the admin.
"""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from host.config import Config
from host.errors import Refused
from releases.deployments import rollback_plan
from releases.deployments.hooks import Hooks
from releases.deployments.switch import (
    ActivationFailed,
    advance_to_end,
    advance_to_switch,
    carried,
    serving,
)
from releases.models import Activation, ActivationLost, Release
from releases.production import app
from releases.rules import (
    ActivationKind,
    ActivationOutcome,
    ReleaseStatus,
    other_colour,
    validate_release_id,
)

__all__ = [
    "ActivationFailed",
    "begin_rollback",
    "carry_out",
    "confirm",
    "rollback",
    "switch_to",
]

# How long a run's deploy waits for an activation that was there before it.
TURN_SECONDS = 180.0
Progress = Callable[[str], None]


def switch_to(
    config: Config,
    release_id: str,
    *,
    actor: str,
    reason: str,
    kind: str = ActivationKind.DEPLOY,
    run_id: uuid.UUID | None = None,
    key: str = "",
    is_gated: bool = True,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> Activation:
    """Make a built release live, as far as the switch; `confirm` goes on from there.

    The same `key` (one attempt of one run) finds the same activation again, wherever it was
    interrupted. Raises ActivationFailed with everything undone and the commands to follow, Refused
    `activation_in_progress`, ActivationLost if `stop` said so or another process took over.
    """
    activation = Activation.objects.filter(key=key).first() if key else None
    if activation is None:
        activation = _begin_in_turn(
            release_id,
            TURN_SECONDS if key else 0.0,
            stop or (lambda: False),
            kind=kind,
            actor=actor,
            reason=reason,
            run_id=run_id,
            key=key,
            is_gated=is_gated,
        )
    with carried(config, activation, log=log, stop=stop, progress=progress) as carrier:
        if carrier is not None:
            advance_to_switch(carrier)
    return _checked(activation)


def confirm(
    config: Config,
    activation: Activation,
    *,
    log: Path | None = None,
    stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> Activation:
    """Reload hook, health gate, and the old colour drained and stopped. Raises as `switch_to`."""
    with carried(config, activation, log=log, stop=stop, progress=progress) as carrier:
        if carrier is not None:
            advance_to_switch(carrier)
            advance_to_end(carrier)
    _checked(activation)
    app.drain(config, Hooks.read(config).drain_seconds)
    return activation


def _checked(activation: Activation) -> Activation:
    """Raises ActivationFailed if it ended badly, whoever ended it."""
    activation.refresh_from_db()
    if activation.is_over and activation.outcome != ActivationOutcome.SUCCEEDED:
        raise ActivationFailed(activation)
    return activation


def _begin_in_turn(
    release_id: str, seconds: float, stop: Callable[[], bool], **fields: Any
) -> Activation:
    """Begin once what is under way is over, after `seconds` at most. Raises as `begin`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return begin(release_id, **fields)
        except Refused as refused:
            if refused.code != "activation_in_progress" or time.monotonic() >= deadline:
                raise
        if stop():
            raise ActivationLost
        time.sleep(0.2)


def begin(release_id: str, *, kind: str, **fields: Any) -> Activation:
    """Write down that a release is to be made live. Raises Refused.

    What it takes over from is read after the row is there: from then on nobody else switches.
    """
    release = known(release_id)
    with transaction.atomic():
        activation = Activation.objects.begin(release, kind=kind, colour="blue", **fields)
        live = Release.objects.live()
        if live == release:
            raise Refused("release_already_current", f"{release} is live already.")
        if release.status == ReleaseStatus.BUILDING or release.built_at is None:
            raise Refused("release_not_built", f"{release} has no build.")
        before = serving(live)
        activation.previous = live
        activation.colour = other_colour(before.colour if before else "green")
        activation.save(update_fields=["previous", "colour"])
    return activation


def known(release_id: str) -> Release:
    """Return that release. Raises Refused `release_id_invalid` (400), `release_unknown` (404)."""
    release = Release.objects.filter(pk=validate_release_id(release_id)).first()
    if release is None:
        raise Refused(
            "release_unknown",
            "No such release; ./scripts/release-registry.sh list shows those that are here.",
            status=404,
        )
    return release


def rollback(
    config: Config,
    release_id: str,
    *,
    actor: str,
    reason: str,
    accept_schema: bool = False,
    progress: Progress | None = None,
) -> Activation:
    """Make an earlier release live again and return when its health gate has passed.

    Raises Refused (`release_id_invalid`, `release_unknown`, `release_already_current`,
    `release_not_rollbackable`, `rollback_blocked_by_migration`, `release_corrupt`,
    `activation_in_progress`) with nothing changed, ActivationFailed.
    """
    activation = begin_rollback(config, release_id, actor, reason, accept_schema)
    return confirm(config, activation, progress=progress)


def begin_rollback(
    config: Config, release_id: str, actor: str, reason: str, accept_schema: bool
) -> Activation:
    """Check a rollback and write it down. Raises Refused as `rollback`."""
    rollback_plan.check(config, known(release_id), accept_schema=accept_schema)
    return begin(release_id, kind=ActivationKind.ROLLBACK, actor=actor, reason=reason)


def carry_out(number: int) -> None:
    """Carry an activation to its end. A second bell finds nothing to do."""
    config = settings.OROBOROS
    activation = Activation.objects.select_related("release", "previous").get(pk=number)
    if activation.is_over:
        return
    try:
        confirm(config, activation)
    except ActivationFailed:
        return  # the row says how, and the admin shows it
