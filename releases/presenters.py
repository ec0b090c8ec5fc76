"""Releases and deployments as the commands and the API show them."""

from datetime import datetime
from pathlib import Path
from typing import Any

from host.config import Config
from host.errors import Refused
from host.units import managers
from releases.models import Deployment, Release
from releases.processes import background, keeping
from releases.processes.keeping import Restarts
from releases.production import app_instance, colours
from releases.rules import ReleaseStatus


def present_release(release: Release) -> dict[str, Any]:
    """Return the fields of a release."""
    return {
        "release_id": release.pk,
        "title": release.title,
        "commit_sha": release.commit_sha,
        "run_id": str(release.run_id) if release.run_id else None,
        "status": release.status,
        "detail": release.detail,
        "migrations": release.migrations,
        "schema_changes": release.schema_changes,
        "restore_point": release.restore_point or None,
        "restore_command": release.restore_command or None,
        "built_at": _format_time(release.built_at),
        "activated_at": _format_time(release.activated_at),
        "healthy_at": _format_time(release.healthy_at),
        "removed_at": _format_time(release.removed_at),
    }


def summarize_release(release: Release) -> dict[str, Any]:
    """Return the fields of a release that tell it from the others; `get` has all of them."""
    fields = ("release_id", "commit_sha", "run_id", "status", "built_at", "activated_at")
    presented = present_release(release)
    return {name: presented[name] for name in fields}


def present_deployment(deployment: Deployment) -> dict[str, Any]:
    """Return the fields of a deployment."""
    return {
        "number": deployment.number,
        "release_id": deployment.release_id,
        "previous_release_id": deployment.previous_id,
        "kind": deployment.kind,
        "actor": deployment.actor,
        "reason": deployment.reason,
        "outcome": deployment.outcome,
        "progress": deployment.progress,
        "detail": deployment.detail,
        "guidance": deployment.guidance,
        "started_at": _format_time(deployment.started_at),
        "switched_at": _format_time(deployment.switched_at),
        "ended_at": _format_time(deployment.ended_at),
        "seconds": deployment.seconds,
    }


def list_processes(config: Config, release: Release) -> list[dict[str, Any]]:
    """Return the processes of the live release as they are now; none of another release.

    `restarts` counts those of a background process since the release went live.
    """
    units = _list_units(config, release)
    return [_present_process(config, name, unit) for name, unit in units.items()]


def list_logs(config: Config, release: Release) -> dict[str, Path]:
    """Return the logs of the live release's processes by name; none of another release.

    A log is of a place where processes run, one release after another: older lines are theirs.
    """
    units = _list_units(config, release)
    return {name: app_instance.unit_log(config, unit) for name, unit in units.items()}


def _list_units(config: Config, release: Release) -> dict[str, str]:
    """Return the units of the live release's processes by the names of these."""
    colour = colours.get_live_colour(config)
    if release.status != ReleaseStatus.LIVE or colour is None:
        return {}
    try:
        names = background.list_names(config, release)
        units = colours.list_unit_names(config, release, colour)
        return units | {name: background.unit_name(name) for name in names}
    except Refused:  # its build is gone, which the reconciler reports
        return {}


def _present_process(config: Config, name: str, unit: str) -> dict[str, Any]:
    is_active = managers.get_manager(config).status(unit).is_active
    return {
        "name": name,
        "type": name.partition(".")[0],
        "state": "running" if is_active else "ended",
        "restarts": keeping.read_restarts(config).get(unit, Restarts()).total,
    }


def _format_time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
