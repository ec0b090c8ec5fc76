"""Compares the releases' rows with the machine, repairs it, and removes old builds."""

from datetime import timedelta
from pathlib import Path

from django.db.models import Q

from core.clock import ClockTimestamp
from host.app.process_types.process_environment import WEB
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.files.file_lock import remove_lock_file
from host.units import managers
from host.units.unit import HealthCheck, start_or_replace
from releases.builds.build_folders import build_folder, storage_root
from releases.deployments.deploy_and_rollback import complete_deployment
from releases.deployments.deployment_steps import DeploymentFailed, write_link_folder
from releases.models import (
    Deployment,
    DeploymentInProgress,
    DeploymentLost,
    Release,
    ReleaseQuerySet,
)
from releases.processes import keeping
from releases.production import colours, current_link, draining
from releases.production.colours import ColoursBusy
from releases.rules import ReleaseStatus, select_releases_to_keep

# Default of RELEASES_KEEP, the number of healthy releases whose builds stay.
RELEASES_KEPT = 5
# The process that works on a deployment may be between two claims for so long after its begin.
IDLE_SECONDS = 30
ABANDONED_SECONDS = 24 * 3600


def reconcile(config: Config, dry_run: bool = False) -> list[str]:
    """Repair what differs from the rows; returns what was (or would be) done as sentences.

    Interrupted deployments are finished or undone, the current link is switched to the live
    release, its colour is started, the idle one stopped, and builds that no rollback may use are
    removed. May be repeated.
    """
    # Production first: the health gate of a deployment that is continued probes what serves.
    return [
        *repair_production(config, dry_run),
        *continue_interrupted_deployments(config, dry_run),
    ]


def repair_production(config: Config, dry_run: bool = False) -> list[str]:
    """Repair everything but interrupted deployments, and wait for nothing.

    While a deployment runs, its process decides about link, colours and builds. Only the colour
    that serves is started then, if it has died: that process may have been killed as well.
    """
    if Deployment.objects.running().exists():
        return _keep_serving(config, dry_run)
    try:
        with colours.lock_colours(config, seconds=0):
            # A deployment may have begun before the lock was taken. It repairs all of this itself.
            if Deployment.objects.running().exists():
                return []
            return [
                *_repair_current_link(config, dry_run),
                *_revive_live_colour(config, dry_run),
                *_repair_processes(config, dry_run),
                *_stop_idle_colours(config, dry_run),
                *_remove_old_builds(config, dry_run),
            ]
    except ColoursBusy:  # for so long as an idle colour takes to stop
        return _keep_serving(config, dry_run)


def _keep_serving(config: Config, dry_run: bool) -> list[str]:
    """Start the colour that the current link names if it does not run."""
    # Without the colours' lock: a deployment holds it for as long as its own colour starts. The
    # unit's lock suffices, because no deployment stops or replaces the colour that the link names.
    target = current_link.read(config)
    if target is None:
        return []
    deployments = Deployment.objects.select_related("release")
    serving = deployments.filter(pk=target.number).first()
    if serving is None:
        return []
    return [
        *_revive_colour(config, serving, dry_run),
        *keeping.keep_running(config, serving.release, is_deploying=True, dry_run=dry_run),
    ]


def _repair_processes(config: Config, dry_run: bool) -> list[str]:
    """Start the live release's background processes that do not run; stop those of others."""
    live = Release.objects.live()
    return keeping.keep_running(config, live, is_deploying=False, dry_run=dry_run)


def continue_interrupted_deployments(config: Config, dry_run: bool = False) -> list[str]:
    """Finish or undo the deployments whose process lost its claim; returns sentences.

    Takes as long as what remains of them, such as the health gate.
    """
    at = ClockTimestamp()
    is_begun = Q(claim_expires_at=None, started_at__lt=at - timedelta(seconds=IDLE_SECONDS))
    interrupted = Deployment.objects.running().filter(is_begun | Q(claim_expires_at__lt=at))
    repairs = []
    for deployment in interrupted.select_related("release", "previous"):
        repairs.append(f"{deployment} of {deployment.release} was interrupted: continued")
        if not dry_run:
            repairs += _continue_deployment(config, deployment)
    return repairs


def _continue_deployment(config: Config, deployment: Deployment) -> list[str]:
    try:
        complete_deployment(config, deployment, wait=0)
    except DeploymentFailed as failed:
        return [f"{deployment} failed: {failed.detail}"]
    except (DeploymentInProgress, DeploymentLost):
        return [f"{deployment} is continued by another process"]
    return []


def _repair_current_link(config: Config, dry_run: bool) -> list[str]:
    """Switch the current link to the deployment that made the live release live."""
    expected = Deployment.objects.latest_switch_to(Release.objects.live())
    target = current_link.read(config)
    if expected is None:
        if target is None:
            return []
        if not dry_run:
            current_link.clear(config)
        return [f"the current link named {target.number}, but no release is live: removed"]
    address = colours.address(config, expected.colour)
    if target is not None and (target.number, target.address) == (expected.number, address):
        return []
    if not dry_run:
        _switch_current_link(config, expected)
    # The port of a colour moves with OROBOROS_PORT_OFFSET.
    named = f"deployment {target.number} at {target.address}" if target else "nothing"
    return [f"the current link named {named}; it names {expected} of {expected.release} now"]


def _switch_current_link(config: Config, deployment: Deployment) -> None:
    try:
        check = colours.read_health_check(config, deployment.release)
    except Refused:  # the build is missing: no backend will listen, so /health says unhealthy
        check = HealthCheck("/")
    write_link_folder(config, deployment, check)
    # Before the switch, so that the surface is not sent to a colour that does not run.
    _start_colour(config, deployment)
    current_link.switch(config, deployment.number)


def _revive_live_colour(config: Config, dry_run: bool) -> list[str]:
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    return [] if live is None else _revive_colour(config, live, dry_run)


def _stop_idle_colours(config: Config, dry_run: bool) -> list[str]:
    """Stop the idle colour once it has drained; that may take a while, so it comes late."""
    if _has_deployment_just_ended():
        return []
    repairs = []
    for colour in colours.list_idle_colours(config):
        if draining.must_be_kept(config, colour):
            continue
        name = colours.unit_name(colour)
        repairs.append(f"{name} ran without serving: stopped")
        if not dry_run:
            colours.stop_colour(config, colour)
    return repairs


def _revive_colour(config: Config, deployment: Deployment, dry_run: bool) -> list[str]:
    """Start the deployment's colour if it does not run."""
    dead = _list_dead(config, deployment)
    if not dead:
        return []
    text = f"{', '.join(dead)} of {deployment.release} did not run"
    return [text] if dry_run else [text, _start_colour(config, deployment)]


def _list_dead(config: Config, deployment: Deployment) -> list[str]:
    """Return the units of the deployment's colour that do not run, none without a backend."""
    manager = managers.get_manager(config)
    try:
        names = colours.list_unit_names(config, deployment.release, deployment.colour)
    except Refused:  # the build is gone, and the reconciler may start what it left
        names = {WEB: colours.unit_name(deployment.colour)}
    return [name for name in names.values() if not manager.status(name).is_active]


def _has_deployment_just_ended() -> bool:
    """Return whether a process may still wait for the requests of a deployment's old colour."""
    since = ClockTimestamp() - timedelta(seconds=draining.WAIT_SECONDS + 1)
    return Deployment.objects.filter(ended_at__gt=since).exists()


def _start_colour(config: Config, deployment: Deployment) -> str:
    """Start the live colour; a refusal is reported, and tried again at the next call."""
    try:
        for unit in colours.make_units(config, deployment.release, deployment.colour):
            # Replaced if its port moved: the link names the new one already.
            # Called again every 2 s, it waits for nothing.
            manager = managers.get_manager(config)
            start_or_replace(manager, unit, colours.GRACE_SECONDS, stop=lambda: True)
    except Refused as refusal:
        return f"{deployment.release} did not come up: {refusal.detail}"
    return f"{colours.unit_name(deployment.colour)} was started"


def _remove_old_builds(config: Config, dry_run: bool) -> list[str]:
    """Remove builds that no rollback may use, with their link folders and dumps."""
    keep = int(config.get_seconds("RELEASES_KEEP", RELEASES_KEPT))
    live = Release.objects.live()
    healthy = list(Release.objects.healthy().values_list("pk", flat=True))
    kept = select_releases_to_keep(healthy, live.pk if live else None, keep)
    repairs = []
    for release in _list_removable_releases().exclude(pk__in=kept):
        repairs.append(f"build of {release} removed ({release.status})")
        if not dry_run:
            _remove_build(config, release)
    if not dry_run:
        _remove_stray_folders(config)
    return repairs


def _list_removable_releases() -> ReleaseQuerySet:
    """Return the releases with a build, except those that may still be deployed."""
    recent = ClockTimestamp() - timedelta(seconds=ABANDONED_SECONDS)
    undeployed = Q(status__in=[ReleaseStatus.BUILDING, ReleaseStatus.BUILT, ReleaseStatus.FAILED])
    return Release.objects.filter(removed_at=None).exclude(undeployed & Q(created_at__gt=recent))


def _remove_build(config: Config, release: Release) -> None:
    if release.status == ReleaseStatus.BUILDING:
        release.fail("The build was abandoned.")
    if release.restore_point:
        (config.var / release.restore_point).unlink(missing_ok=True)
    ownership.delete_tree(build_folder(config, release.pk))
    # Last, so that an interrupted removal is found again by `removed_at`.
    release.record_removal()


def _remove_stray_folders(config: Config) -> None:
    """Remove the folders of removed releases, and folders without a row."""
    # Every deployment of a kept build stays: a running request may still read an earlier one.
    numbers = Deployment.objects.filter(release__removed_at=None).values_list("pk", flat=True)
    current_link.remove_folders_except(config, numbers)
    # Listed before the rows are read: a build that begins meanwhile makes its row, then its folder.
    entries = _list_entries(config.var / "releases")
    links = _list_entries(storage_root(config) / "releases")
    kept = set(Release.objects.filter(removed_at=None).values_list("pk", flat=True))
    for entry in entries:
        if entry.is_dir() and entry.name not in kept:
            ownership.delete_tree(entry)
        elif entry.suffix == ".lock":
            remove_lock_file(entry)  # of a build that is over
    for link in links:
        if link.name not in kept:
            link.unlink(missing_ok=True)


def _list_entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []
