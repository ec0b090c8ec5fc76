"""Runs, their journal, and what people decided about them."""

from runs.models.decisions import Approval, Freeze
from runs.models.journal import Artifact, Beat, Event, Step
from runs.models.run import Run

__all__ = ["Approval", "Artifact", "Beat", "Event", "Freeze", "Run", "Step"]
