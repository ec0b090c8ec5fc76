"""What the pictures of a run's present commit show, for its page, the API and the pull request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from runs.models import Run, ScreenshotSet
from runs.rules import Status
from runs.screenshots.availability import find_obstacle
from runs.screenshots.rules import (
    ARTIFACT_PREFIX,
    ScreenshotStatus,
    Shot,
    Side,
    build_picture_url,
    format_share,
)

TAKING = "They are being taken."


@dataclass(frozen=True)
class SideView:
    """One picture: `url` is its address, "" without one; `error` says why there is none."""

    side: Side
    url: str
    status: int
    error: str


@dataclass(frozen=True)
class PairView:
    """A page on a device, before and after.

    `production` is None if no release was live, or the live one does not name the page.
    """

    shot: Shot
    preview: SideView
    production: SideView | None
    changed: float | None

    @property
    def changed_text(self) -> str:
        return "" if self.changed is None else format_share(self.changed)

    @property
    def both(self) -> bool:
        """Whether there are two pictures to compare."""
        return bool(self.preview.url and self.production and self.production.url)

    @property
    def sides(self) -> list[SideView]:
        return [self.preview, *([self.production] if self.production else [])]


@dataclass(frozen=True)
class ScreenshotFacts:
    """The set of the present commit, None without one; `reason`: why there are no pictures yet."""

    row: ScreenshotSet | None
    pairs: Sequence[PairView] = ()
    reason: str = ""

    @property
    def largest_change(self) -> float | None:
        """The largest share of changed pixels; None if nothing was compared."""
        return max((pair.changed for pair in self.pairs if pair.changed is not None), default=None)

    @property
    def largest_change_text(self) -> str:
        return "" if self.largest_change is None else format_share(self.largest_change)


def read_screenshots(run: Run) -> ScreenshotFacts:
    """Return what is known of the pictures of the run's present commit."""
    rows = run.screenshot_sets.filter(generation=run.generation, commit_sha=run.commit_sha)
    row = rows.select_related("release").first()
    if row is None:
        return ScreenshotFacts(None, reason=_explain_absence(run))
    if row.status != ScreenshotStatus.TAKEN:
        is_running = row.status == ScreenshotStatus.RUNNING
        return ScreenshotFacts(row, reason=row.detail or (TAKING if is_running else ""))
    # Those that retention has not removed.
    names = run.artifacts.filter(generation=row.generation, name__startswith=ARTIFACT_PREFIX)
    kept = set(names.values_list("name", flat=True))
    pairs = [_read_pair(row, stored, kept) for stored in row.pictures]
    return ScreenshotFacts(row, pairs, row.detail)


def _explain_absence(run: Run) -> str:
    obstacle = find_obstacle(settings.OROBOROS)
    if obstacle or run.is_final:
        return obstacle or "No screenshots were taken."
    is_ready = run.status == Status.PREVIEW_READY
    return "" if is_ready else "They are taken when the preview is ready."


def _read_pair(row: ScreenshotSet, stored: Mapping[str, Any], kept: set[str]) -> PairView:
    shot = Shot(stored["number"], stored["path"], stored["device"])
    sides = {
        side: _read_side(row, stored[side], side, shot.artifact_name(side), kept)
        for side in Side
        if side in stored
    }
    return PairView(shot, sides[Side.PREVIEW], sides.get(Side.PRODUCTION), stored["changed"])


def _read_side(
    row: ScreenshotSet, stored: Mapping[str, Any], side: Side, name: str, kept: set[str]
) -> SideView:
    error = stored["error"] or ("" if name in kept else "its file was removed")
    url = "" if error else build_picture_url(row.run_id, name, row.generation)
    return SideView(side, url, stored["status"], error)
