"""Releases and deployments."""

from releases.models.deployment import (
    Deployment,
    DeploymentInProgress,
    DeploymentLost,
    DeploymentQuerySet,
)
from releases.models.release import Release, ReleaseQuerySet

__all__ = [
    "Deployment",
    "DeploymentInProgress",
    "DeploymentLost",
    "DeploymentQuerySet",
    "Release",
    "ReleaseQuerySet",
]
