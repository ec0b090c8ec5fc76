"""Artifacts with a file, as a step writes them."""

from django.conf import settings

from runs.engine.artifacts import artifacts_folder
from tests.factories import ArtifactFactory


def write_artifact(run, name, text, **fields):
    """Create an artifact of the run with a file that contains `text`; returns its row."""
    row = ArtifactFactory(run=run, name=name, **fields)
    path = artifacts_folder(settings.OROBOROS) / row.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return row
