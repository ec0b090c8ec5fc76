"""The production app on this machine: its build's folder, and the two colours that serve it.

A colour is a unit on a port of its own. The new one is started and probed beside the old one; the
old one is stopped only when its requests had time to end.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from host.app import environment, manifest, planning
from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from host.config import Config
from host.errors import Refused
from host.files import file_lock, ownership
from host.units import managers
from host.units.managers import Unit
from releases.builds import build_manifest
from releases.models import Activation, Release
from releases.production import current_link, database
from releases.rules import COLOURS

if TYPE_CHECKING:  # it carries what is started here
    from releases.deployments.switch import Carrier

logger = logging.getLogger(__name__)

# An app may finish its requests after SIGTERM; then it is killed.
GRACE_SECONDS = 20.0
LOCK_SECONDS = 60.0


class Unhealthy(Exception):
    """A start or a probe was not good; the text says which and why."""


def port(config: Config, colour: str) -> int:
    """Return the port of a colour."""
    return config.colour_ports[COLOURS.index(colour)]


def unit_name(colour: str) -> str:
    """Return the name of a colour's unit."""
    return f"ouroboros-app@{colour}"


def log(config: Config, colour: str) -> Path:
    """Return where a colour's output goes."""
    return config.var / "log" / f"{unit_name(colour)}.log"


def folder(config: Config, release_id: str) -> Path:
    """Return where a release's build lies, or lay."""
    return config.var / "releases" / release_id


def tree(config: Config, release_id: str) -> Path:
    """Return the application's files within the build."""
    return folder(config, release_id) / "app"


def public(config: Config, release: Release) -> Path | None:
    """Return the frontend's built files; None where the backend serves everything."""
    path = folder(config, release.release_id) / "public"
    return path if path.is_dir() else None


@dataclass(frozen=True)
class Recipe:
    """How a build is started, as decided when it was made: the host may have moved on since."""

    web: Command | None
    release: Command | None
    health_path: str
    bins: list[Path]

    @classmethod
    def of(cls, plan: Plan, says: Manifest, bins: list[Path]) -> "Recipe":
        """Return the recipe of an application's plan."""
        return cls(plan.web, plan.release, says.health_path, bins)

    def facts(self) -> dict[str, Any]:
        """For the build's manifest."""
        return {
            "web": self.web and asdict(self.web),
            "release": self.release and asdict(self.release),
            "health_path": self.health_path,
            "bins": [str(path) for path in self.bins],
        }


def recipe(config: Config, release: Release) -> Recipe:
    """Read how that build is started. Raises Refused `release_corrupt` if it cannot be read."""
    facts = build_manifest.facts(folder(config, release.pk))
    if facts is None:
        raise Refused("release_corrupt", f"The build of {release} is gone; deploy it again.")
    web, before = facts["web"], facts["release"]
    return Recipe(
        Command(**web) if web else None,
        Command(**before) if before else None,
        facts["health_path"],
        [Path(path) for path in facts["bins"]],
    )


def environ(config: Config, release: Release, colour: str, bins: list[Path]) -> dict[str, str]:
    """Return the whole environment of the release's processes as that colour."""
    given = environment.for_production(
        config,
        port=port(config, colour),
        database_url=database.url(config),
        release_id=release.pk,
        commit=release.commit_sha,
    )
    resolved = environment.build(
        config,
        given,
        manifest.load(tree(config, release.pk)),
        home=_home(config),
        bins=bins,
        file=environment.PRODUCTION_FILE,
        purpose="production",
    )
    return resolved.env


def unit(config: Config, release: Release, colour: str) -> Unit | None:
    """Return what serves `release` as that colour; None where it has no backend."""
    made = recipe(config, release)
    if made.web is None:
        return None
    root = tree(config, release.pk)
    env = environ(config, release, colour, made.bins)
    return Unit(
        name=unit_name(colour),
        argv=tuple(planning.ready(made.web, config, root=root, bins=made.bins, env=env)),
        cwd=root / made.web.cwd,
        env=env,
        user=config.app_user,
        log=log(config, colour),
        port=port(config, colour),
        health_path=made.health_path,
    )


def _home(config: Config) -> Path:
    """Return the app's own folder, the one place on the disk where it may write."""
    path = config.var / "app"
    if not path.exists():
        path.mkdir(mode=0o700, parents=True)
        ownership.give(path, config.app_user)
    return path


def start_colour(carrier: "Carrier", activation: Activation) -> None:
    """Have the activation's colour run its release, and healthy. Raises Unhealthy, Refused."""
    config, colour = carrier.config, activation.colour
    wanted = unit(config, activation.release, colour)
    manager = managers.manager(config)
    if wanted is None:
        manager.stop(unit_name(colour), grace=GRACE_SECONDS)
        return
    try:
        manager.start(wanted)
    except Refused as refusal:
        if refusal.code != "unit_differs":
            raise
        # Another release drains there: its time is over.
        manager.stop(wanted.name, grace=GRACE_SECONDS)
        manager.start(wanted)
    health = managers.wait_healthy(manager, wanted, carrier.hooks.start_seconds, carrier.stopping)
    carrier.check()
    if not health.ok:
        raise Unhealthy(f"The backend of {activation.release} is not healthy: {health.reason}")


@contextmanager
def colours_locked(config: Config, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the right to start and stop colours and to switch between them.

    Raises Refused `colours_busy` if another process holds it for longer than `seconds`.
    """
    with file_lock.held(config.var / "run" / "colours.lock", seconds=seconds) as is_ours:
        if not is_ours:
            raise Refused("colours_busy", "Another process works on the colours; try again.")
        yield


def live_colour(config: Config) -> str | None:
    """Return the colour that the link names; None where nothing is live."""
    live = current_link.read(config)
    if live is None:
        return None
    return next((c for c in COLOURS if live.address.endswith(f":{port(config, c)}")), None)


def stop_others(config: Config) -> None:
    """Stop the colours that do not serve, unless an activation needs them now.

    Where somebody is at them already that is no failure of what serves: the reconciler comes back.
    """
    try:
        with colours_locked(config):
            if Activation.objects.running().exists():
                return
            for colour in idle_colours(config):
                managers.manager(config).stop(unit_name(colour), grace=GRACE_SECONDS)
    except Refused as refused:
        logger.warning("what does not serve still runs: %s", refused.detail)


def idle_colours(config: Config) -> list[str]:
    """Return the colours that were started and do not serve."""
    started = managers.manager(config).names()
    return [c for c in COLOURS if c != live_colour(config) and unit_name(c) in started]


def drain(config: Config, seconds: float) -> None:
    """Give the requests under way their time, then stop the colours that do not serve."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if Activation.objects.running().exists():
            return  # the next one decides about both colours
        time.sleep(0.1)
    stop_others(config)
