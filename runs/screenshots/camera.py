"""Runs the program that takes pictures, as a user of its own, and checks what it looks at."""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from host import http_client
from host.config import Config, SlotConfig
from host.errors import Refused
from host.files import var_folders
from host.process import runner
from host.screenshots import pictures
from host.screenshots.chromium import find_chromium
from host.screenshots.devices import PHONE
from host.screenshots.pictures import PagePicture
from releases.models import Release
from releases.production.health_gate import COMMIT_HEADER
from runs.models import Run
from runs.pipelines.preview_answer import IDENTITY_PATH
from runs.screenshots.rules import Shot

# Of all pages of one surface: what has no picture by then has a note. And above it, for the program
# to start and to end.
SURFACE_SECONDS, PROGRAM_SECONDS = 180.0, 60.0
HTTP_PORT = 80


@dataclass(frozen=True)
class Surface:
    """What is photographed: the Host header of its visitors, and its port on this machine."""

    host: str
    port: int
    is_https: bool

    @property
    def origin(self) -> str:
        """The host name with a port, as Chromium looks it up."""
        return self.host if ":" in self.host else f"{self.host}:{HTTP_PORT}"


def preview_surface(config: Config, slot: SlotConfig, run: Run) -> Surface:
    """Return the preview's surface: its own port on loopback, which asks for no ticket."""
    return Surface(config.frontend_address(slot, run.label), slot.web_port, config.is_https)


def production_surface(config: Config) -> Surface:
    """Return the surface of the live release."""
    return Surface(config.app_host, config.web_port, config.is_https)


def shows_run(surface: Surface, run: Run) -> bool:
    """Return whether the surface answers as that run and that commit."""
    try:
        answer = http_client.get(surface.port, IDENTITY_PATH, host=surface.host)
        found = json.loads(answer.body)
    except (OSError, ValueError):
        return False
    wanted = {"run": str(run.pk), "commit": run.commit_sha, "state": "live"}
    return isinstance(found, dict) and wanted.items() <= found.items()


def shows_release(surface: Surface, release: Release) -> bool:
    """Return whether production answers as that release's commit."""
    try:
        answer = http_client.get(surface.port, "/health", host=surface.host)
    except (OSError, ValueError):
        return False
    return answer.headers.get(COMMIT_HEADER) == release.commit_sha


def remove_processes(config: Config) -> None:
    """Kill every process of the pictures' user, however it hides. Raises Refused if one stays."""
    user = config.screenshot_user
    if user is not None and not user.kill_all():
        raise Refused("screenshots_still_run", f"Processes of uid {user.uid} do not end.")


def take_pictures(
    config: Config, surface: Surface, shots: Sequence[Shot], stop: Callable[[], bool]
) -> list[PagePicture]:
    """Return a picture of each page of the surface, or why there is none.

    Raises Refused `no_chromium` without Chromium or without a user for it.
    """
    user, program = config.screenshot_user, find_chromium()
    if user is None or program is None:
        raise Refused("no_chromium", "There is no Chromium on this host, or no user for it.")
    sizes = [shot.size for shot in shots]
    most = len(sizes) * pictures.LINE_BYTES
    with (
        var_folders.private_folder(config, user) as folder,
        tempfile.TemporaryFile() as plan,
        tempfile.TemporaryFile() as report,
        Path(os.devnull).open("wb") as errors,
    ):
        plan.write(json.dumps(_plan(surface, shots, program, str(folder))).encode())
        plan.seek(0)
        outcome = runner.run_attached(
            [sys.executable, "-P", "-m", "host.screenshots"],
            cwd=folder,
            env={"PATH": os.defpath, "PYTHONPATH": str(config.home), "LC_ALL": "C.UTF-8"},
            user=user,
            streams=(plan, report, errors),
            timeout=SURFACE_SECONDS + PROGRAM_SECONDS,
            stop=lambda: stop() or os.fstat(report.fileno()).st_size > most,
        )
        report.seek(0)
        if outcome.exit_code == 0:
            return pictures.read_report(report, sizes)
        # Those of the pages that it had finished are kept.
        return pictures.read_report(report, sizes, f"Chromium's program {outcome.failure}")


def _plan(surface: Surface, shots: Sequence[Shot], program: str, folder: str) -> dict[str, object]:
    """Return what `host.screenshots` reads."""
    # As what the router sends: the application would else redirect to https.
    headers = {"X-Forwarded-Proto": "https"} if surface.is_https else {}
    pages = [
        {
            "url": f"http://{surface.host}{shot.path}",
            "width": shot.size[0],
            "height": shot.size[1],
            "is_phone": shot.device == PHONE,
            "headers": headers,
        }
        for shot in shots
    ]
    return {
        "chromium": program,
        "folder": folder,
        "host": surface.origin,
        "address": f"127.0.0.1:{surface.port}",
        "seconds": SURFACE_SECONDS,
        "pages": pages,
    }
