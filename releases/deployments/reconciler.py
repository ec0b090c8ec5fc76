"""Compares what the registry says of production with the machine, mends it, and keeps room."""

from datetime import timedelta

from django.db.models import Q

from core.clock import ClockTimestamp
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.units import managers
from releases.builds import build_manifest
from releases.deployments.hooks import Hooks
from releases.deployments.operations import confirm
from releases.deployments.switch import ActivationFailed, serving
from releases.models import Activation, Release, ReleaseQuerySet
from releases.production import app, current_link
from releases.rules import ReleaseStatus, kept

KEEP = 5
# Whoever works on an activation may be between two of its steps.
IDLE_SECONDS = 30
ABANDONED_SECONDS = 24 * 3600


def reconcile(config: Config, dry_run: bool = False) -> list[str]:
    """Mend what differs; returns what was done (or would be) as sentences. May be repeated.

    Interrupted activations are finished or undone, the link follows the registry, the colour that
    serves runs and the other does not, retention keeps the live release and the last healthy ones.
    """
    if Activation.objects.running().exists():
        return _interrupted(config, dry_run)
    try:
        with app.colours_locked(config, seconds=0):
            if Activation.objects.running().exists():
                return []  # it began just now, and looks after all of this itself
            return [
                *_link(config, dry_run),
                *_colours(config, dry_run),
                *_retention(config, dry_run),
            ]
    except Refused as refused:
        if refused.code != "colours_busy":
            raise
        return []


def _interrupted(config: Config, dry_run: bool) -> list[str]:
    before = ClockTimestamp() - timedelta(seconds=IDLE_SECONDS)
    idle = Q(claim_expires_at=None, started_at__lt=before) | Q(claim_expires_at__lt=before)
    found = Activation.objects.running().filter(idle).select_related("release", "previous")
    told = []
    for activation in found:
        told.append(f"{activation} of {activation.release} was interrupted: carried on")
        if dry_run:
            continue
        try:
            confirm(config, activation)
        except ActivationFailed as failed:
            told.append(f"{activation} failed: {failed.detail}")
    return told


def _link(config: Config, dry_run: bool) -> list[str]:
    """The registry is the truth: the link leads to the activation that made its release live."""
    wanted = serving(Release.objects.live())
    now = current_link.read(config)
    if wanted is None:
        if now is None:
            return []
        if not dry_run:
            current_link.clear(config)
        return [f"current named activation {now.number}, but no release is live: cleared"]
    if now is not None and now.number == wanted.number:
        return []
    if not dry_run:
        _point(config, wanted)
    had = f"activation {now.number}" if now else "nothing"
    return [f"current named {had}; it names {wanted} of {wanted.release} now"]


def _point(config: Config, wanted: Activation) -> None:
    release = wanted.release
    address = f"127.0.0.1:{app.port(config, wanted.colour)}"
    previous = wanted.previous
    current_link.write(
        config,
        current_link.Pointer(wanted.number, address, release.commit_sha),
        app.public(config, release),
        app.public(config, previous) if previous is not None else None,
    )
    _start(config, wanted)
    current_link.switch(config, wanted.number)


def _colours(config: Config, dry_run: bool) -> list[str]:
    """Have the colour run that serves, and stop the other once its requests had their time."""
    told = []
    wanted = serving(Release.objects.live())
    if wanted is not None and not _runs(config, wanted):
        told.append(f"{app.unit_name(wanted.colour)} of {wanted.release} did not run")
        if not dry_run:
            told += _start(config, wanted)
    if _drains(config):
        return told
    for colour in app.idle_colours(config):
        name = app.unit_name(colour)
        told.append(f"{name} ran without serving: stopped")
        if not dry_run:
            managers.manager(config).stop(name, grace=app.GRACE_SECONDS)
    return told


def _runs(config: Config, wanted: Activation) -> bool:
    """Tell whether the activation's colour runs; one that has no backend needs none."""
    name, port = app.unit_name(wanted.colour), app.port(config, wanted.colour)
    if managers.manager(config).status(name, port).active:
        return True
    facts = build_manifest.facts(app.folder(config, wanted.release_id))
    return facts is not None and facts["web"] is None


def _drains(config: Config) -> bool:
    """Tell whether an activation ended so lately that its old colour may still be answering."""
    hooks, _ = Hooks.read_or_default(config)
    lately = ClockTimestamp() - timedelta(seconds=hooks.drain_seconds + 1)
    return Activation.objects.filter(ended_at__gt=lately).exists()


def _start(config: Config, wanted: Activation) -> list[str]:
    """Start what serves; one that does not come up is told, and tried again next time."""
    try:
        unit = app.unit(config, wanted.release, wanted.colour)
        if unit is not None:
            managers.manager(config).start(unit)
    except Refused as refusal:
        return [f"{wanted.release} did not come up: {refusal.detail}"]
    return [f"{app.unit_name(wanted.colour)} was started"]


def _retention(config: Config, dry_run: bool) -> list[str]:
    """Remove builds that nobody may go back to, activations' folders and dumps with them."""
    keep = int(config.seconds("RELEASES_KEEP", KEEP))
    live = Release.objects.live()
    healthy = list(Release.objects.healthy().values_list("pk", flat=True))
    stays = kept(healthy, live.pk if live else None, keep)
    told = []
    for release in _removable().exclude(pk__in=stays):
        told.append(f"build of {release} removed ({release.status})")
        if not dry_run:
            _remove(config, release)
    if not dry_run:
        _remove_folders(config)
    return told


def _removable() -> "ReleaseQuerySet":
    """Return the releases with a build that retention may look at: not those still to be used."""
    old = ClockTimestamp() - timedelta(seconds=ABANDONED_SECONDS)
    waiting = Q(status__in=[ReleaseStatus.BUILDING, ReleaseStatus.BUILT, ReleaseStatus.FAILED])
    return Release.objects.filter(removed_at=None).exclude(waiting & Q(created_at__gt=old))


def _remove(config: Config, release: Release) -> None:
    folder = app.folder(config, release.pk)
    if release.status == ReleaseStatus.BUILDING:
        release.move(ReleaseStatus.FAILED, detail="The build was abandoned.")
    if release.restore_point:
        (config.var / release.restore_point).unlink(missing_ok=True)
    ownership.delete(folder)
    Release.objects.filter(pk=release.pk).update(
        removed_at=ClockTimestamp(), restore_point="", restore_command=""
    )


def _remove_folders(config: Config) -> None:
    """Keep the activations of releases that have a build: a request may still read the last."""
    numbers = Activation.objects.filter(release__removed_at=None).values_list("pk", flat=True)
    current_link.keep_only(config, numbers)
    root = config.var / "releases"
    known = set(Release.objects.filter(removed_at=None).values_list("pk", flat=True))
    for entry in root.iterdir() if root.exists() else ():
        if entry.is_dir() and entry.name not in known:
            ownership.delete(entry)
