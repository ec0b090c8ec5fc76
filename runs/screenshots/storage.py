"""The pictures' files: artifacts of the run, so they are kept and removed as those."""

from collections.abc import Mapping
from typing import Any

from host.config import Config
from host.errors import Refused
from host.screenshots.pictures import PagePicture, compute_changed_share
from runs.engine.artifacts import open_artifact, write_artifact
from runs.models import Artifact, Run
from runs.screenshots.rules import Shot, Side, describe_pair

PICTURE_BYTES = 16 * 1024 * 1024


def store_pair(
    config: Config, run: Run, shot: Shot, taken: Mapping[Side, PagePicture]
) -> dict[str, Any]:
    """Write the pictures of one page and device, and return what the row says of them."""
    for side, picture in taken.items():
        if picture.png:
            write_artifact(config, run, shot.artifact_name(side), picture.png)
    pngs = [picture.png for picture in taken.values() if picture.png]
    changed = compute_changed_share(*pngs) if len(pngs) == len(Side) else None
    sides = {side: (picture.status, picture.error) for side, picture in taken.items()}
    return describe_pair(shot, sides, changed)


def read_picture(config: Config, artifact: Artifact) -> bytes:
    """Return the file. Raises Refused `screenshot_gone` (404)."""
    try:
        with open_artifact(config, artifact) as file:
            return file.read(PICTURE_BYTES)
    except (Refused, OSError):
        raise Refused("screenshot_gone", "The picture's file is gone.", status=404) from None
