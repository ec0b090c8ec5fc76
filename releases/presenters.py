"""Releases and activations as the shell and the API show them."""

from typing import Any

from releases.models import Activation, Release


def release_facts(release: Release) -> dict[str, Any]:
    """Return a release in the one shape of API and scripts."""
    return {
        "release_id": release.pk,
        "commit_sha": release.commit_sha,
        "run_id": str(release.run_id) if release.run_id else None,
        "status": release.status,
        "detail": release.detail,
        "migrations": release.migrations,
        "schema_changes": release.schema_changes,
        "restore_point": release.restore_point or None,
        "restore_command": release.restore_command or None,
        "built_at": _text(release.built_at),
        "activated_at": _text(release.activated_at),
        "healthy_at": _text(release.healthy_at),
        "removed_at": _text(release.removed_at),
    }


def activation_facts(activation: Activation) -> dict[str, Any]:
    """Return one switch: who, when, why, how long, how it ended."""
    return {
        "number": activation.number,
        "release_id": activation.release_id,
        "previous_release_id": activation.previous_id,
        "kind": activation.kind,
        "actor": activation.actor,
        "reason": activation.reason,
        "outcome": activation.outcome,
        "progress": activation.progress,
        "detail": activation.detail,
        "guidance": activation.guidance,
        "started_at": _text(activation.started_at),
        "switched_at": _text(activation.switched_at),
        "ended_at": _text(activation.ended_at),
        "seconds": activation.seconds,
    }


def _text(at: Any) -> str | None:
    return at.isoformat() if at is not None else None
