"""Runs, their journal, and the decisions of people about them."""

from runs.models.certificates import CertificateName
from runs.models.comments import Comment
from runs.models.decisions import Approval, Freeze
from runs.models.journal import Artifact, Event, Heartbeat, Step
from runs.models.looks import Look
from runs.models.prechecks import Precheck
from runs.models.protection import PreviewVisit, ShareLink
from runs.models.run import Run
from runs.models.screenshots import ScreenshotSet

__all__ = [
    "Approval",
    "Artifact",
    "CertificateName",
    "Comment",
    "Event",
    "Freeze",
    "Heartbeat",
    "Look",
    "Precheck",
    "PreviewVisit",
    "Run",
    "ScreenshotSet",
    "ShareLink",
    "Step",
]
