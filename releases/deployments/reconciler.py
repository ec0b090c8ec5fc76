"""Compares the releases' rows with the machine, repairs it, and removes old builds."""

from datetime import timedelta

from django.db.models import Q

from core.clock import ClockTimestamp
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.units import managers
from host.units.unit import HealthCheck
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder
from releases.deployments.deploy_and_rollback import complete_deployment
from releases.deployments.deployment_steps import DeploymentFailed, write_link_folder
from releases.models import Deployment, Release, ReleaseQuerySet
from releases.production import colours, current_link, draining
from releases.production.colours import ColoursBusy
from releases.rules import ReleaseStatus, select_releases_to_keep

# Default of RELEASES_KEEP, the number of healthy releases whose builds stay.
RELEASES_KEPT = 5
# The process that works on a deployment may be between two claims for so long.
IDLE_SECONDS = 30
ABANDONED_SECONDS = 24 * 3600


def reconcile(config: Config, dry_run: bool = False) -> list[str]:
    """Repair what differs from the rows; returns what was (or would be) done as sentences.

    Interrupted deployments are finished or undone, the current link is switched to the live
    release, its colour is started, the idle one stopped, and builds that no rollback may use are
    removed. May be repeated.
    """
    if Deployment.objects.running().exists():
        return _continue_interrupted_deployments(config, dry_run)
    try:
        with colours.lock_colours(config, seconds=0):
            # A deployment may have begun before the lock was taken. It repairs all of this itself.
            if Deployment.objects.running().exists():
                return []
            return [
                *_repair_current_link(config, dry_run),
                *_repair_colours(config, dry_run),
                *_remove_old_builds(config, dry_run),
            ]
    except ColoursBusy:
        return []


def _continue_interrupted_deployments(config: Config, dry_run: bool) -> list[str]:
    before = ClockTimestamp() - timedelta(seconds=IDLE_SECONDS)
    is_idle = Q(claim_expires_at=None, started_at__lt=before) | Q(claim_expires_at__lt=before)
    interrupted = Deployment.objects.running().filter(is_idle)
    repairs = []
    for deployment in interrupted.select_related("release", "previous"):
        repairs.append(f"{deployment} of {deployment.release} was interrupted: continued")
        if dry_run:
            continue
        try:
            complete_deployment(config, deployment)
        except DeploymentFailed as failed:
            repairs.append(f"{deployment} failed: {failed.detail}")
    return repairs


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
    if target is not None and target.number == expected.number:
        return []
    if not dry_run:
        _switch_current_link(config, expected)
    named = f"deployment {target.number}" if target else "nothing"
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


def _repair_colours(config: Config, dry_run: bool) -> list[str]:
    """Start the live colour if it does not run; stop the idle one once it has drained."""
    repairs = []
    live = Deployment.objects.latest_switch_to(Release.objects.live())
    if live is not None and not _is_running(config, live):
        repairs.append(f"{colours.unit_name(live.colour)} of {live.release} did not run")
        if not dry_run:
            repairs.append(_start_colour(config, live))
    if _has_deployment_just_ended():
        return repairs
    for colour in colours.list_idle_colours(config):
        if draining.is_draining(config, colour):
            continue
        name = colours.unit_name(colour)
        repairs.append(f"{name} ran without serving: stopped")
        if not dry_run:
            managers.get_manager(config).stop(name, grace=colours.GRACE_SECONDS)
    return repairs


def _is_running(config: Config, deployment: Deployment) -> bool:
    """Return whether the deployment's colour runs, or the release has no backend."""
    name, port = colours.unit_name(deployment.colour), colours.port(config, deployment.colour)
    if managers.get_manager(config).status(name, port).is_active:
        return True
    manifest = build_manifest.read_manifest(build_folder(config, deployment.release_id))
    return manifest is not None and manifest["web"] is None


def _has_deployment_just_ended() -> bool:
    """Return whether a process may still wait for the requests of a deployment's old colour."""
    since = ClockTimestamp() - timedelta(seconds=draining.WAIT_SECONDS + 1)
    return Deployment.objects.filter(ended_at__gt=since).exists()


def _start_colour(config: Config, deployment: Deployment) -> str:
    """Start the live colour; a refusal is reported, and tried again at the next call."""
    try:
        unit = colours.make_unit(config, deployment.release, deployment.colour)
        if unit is not None:
            managers.get_manager(config).start(unit)
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
    root = config.var / "releases"
    kept = set(Release.objects.filter(removed_at=None).values_list("pk", flat=True))
    for entry in root.iterdir() if root.exists() else ():
        # The lock files of builds are in this folder as well.
        if entry.is_dir() and entry.name not in kept:
            ownership.delete_tree(entry)
