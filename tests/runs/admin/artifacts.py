"""Artifacts with a file behind them, as a step leaves them."""

from django.conf import settings

from runs.engine.journal import artifacts_folder
from tests.factories import ArtifactFactory


def written(run, name, text, **fields):
    """Return the row of an artifact of the run whose file says `text`."""
    row = ArtifactFactory(run=run, name=name, **fields)
    path = artifacts_folder(settings.OROBOROS) / row.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return row
