"""When pictures are taken, what they are of, and how they are stored: decisions without I/O."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import TextChoices

from host.screenshots.chromium import INSTALL
from host.screenshots.devices import DEVICES
from runs.rules import Status

ARTIFACT_PREFIX = "screenshot_"
MOVED = "The run has a new commit, or its preview was prepared again."
SWITCHED_OFF = "Screenshots are switched off (PREVIEW_SCREENSHOTS)."
NO_CHROMIUM = f"There are no screenshots: this host has no Chromium. Install it: {INSTALL}"
NO_USER = (
    "There are no screenshots: Oroboros does not run as root here, so Chromium would load the "
    "pages of unreviewed code as its own user."
)
SYSTEMD = "Screenshots are not taken on a host with systemd yet."
PRECHECK = "A check before an approval comes first; the screenshots follow when it has ended."


class ScreenshotStatus(TextChoices):
    """The state of a set of pictures."""

    WAITING = "waiting"
    RUNNING = "running"
    TAKEN = "taken"
    FAILED = "failed"
    CANCELED = "canceled"


OPEN = (ScreenshotStatus.WAITING, ScreenshotStatus.RUNNING)


class Side(TextChoices):
    """What a picture shows: it is compared with the one of the other side."""

    PREVIEW = "preview"
    PRODUCTION = "production"


@dataclass(frozen=True)
class Shot:
    """One page for one device; `number` is that of the page."""

    number: int
    path: str
    device: str

    @property
    def size(self) -> tuple[int, int]:
        return DEVICES[self.device]

    def artifact_name(self, side: Side) -> str:
        return f"{ARTIFACT_PREFIX}{self.number}_{self.device}_{side}"


def plan_shots(paths: Sequence[str]) -> list[Shot]:
    """Return the pictures of the pages, in the order in which they are shown."""
    numbered = enumerate(paths, start=1)
    return [Shot(number, path, device) for number, path in numbered for device in DEVICES]


def select_known(shots: Sequence[Shot], paths: Collection[str]) -> list[Shot]:
    """Return the pictures that production has: of / and of the `paths` that its release names.

    A branch may name any path, and a request for it could have an effect.
    """
    return [shot for shot in shots if shot.path == "/" or shot.path in paths]


def find_obstacle(*, is_off: bool, is_systemd: bool, has_chromium: bool, has_user: bool) -> str:
    """Return why this host takes no pictures; "" if it does."""
    if is_off:
        return SWITCHED_OFF
    if is_systemd:
        return SYSTEMD
    if not has_chromium:
        return NO_CHROMIUM
    return "" if has_user else NO_USER


def find_end_reason(
    status: str, commit: str, generation: int, *, of: tuple[str, int], is_stopping: bool
) -> str:
    """Return why the pictures `of` a commit and a generation are of no use; "" while they are.

    An approved run still shows its preview. Once it is merged, that ends.
    """
    if is_stopping:
        return "The run is being ended."
    if of != (commit, generation):
        return MOVED
    is_shown = status in (Status.PREVIEW_READY, Status.APPROVED)
    return "" if is_shown else f"The run is {status}."


def describe_pair(
    shot: Shot, sides: Mapping[Side, tuple[int, str]], changed: float | None
) -> dict[str, Any]:
    """Return how a page and a device are stored: of each side its status and its error.

    `changed` is the share of changed pixels; None unless both have a picture.
    """
    return {
        "number": shot.number,
        "path": shot.path,
        "device": shot.device,
        "changed": changed,
        **{str(side): {"status": sides[side][0], "error": sides[side][1]} for side in sides},
    }


def build_picture_url(run_id: uuid.UUID, name: str, generation: int) -> str:
    """Return the path of a picture in the API."""
    return f"/api/runs/{run_id}/screenshots/{name}?generation={generation}"


def format_share(share: float) -> str:
    """Return the share in percent: "0 %" only if no pixel changed."""
    if share == 0:
        return "0 %"
    percent = 100 * share
    if percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"
