"""Taking pictures: beside the pipeline, one set at a time on a host, as `runs.prechecks`.

Neither the readiness of a preview nor its approval waits for it or fails with it. A worker that is
killed leaves an open row; the next claim kills what is left and begins again.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef

from core import claims
from core.claims import MAX_ATTEMPTS, Claim, ClaimLost, make_owner_name
from host.app import manifest_loader
from host.config import Config
from host.errors import Refused
from host.screenshots.pictures import PagePicture
from releases.models import Release
from runs import presenters
from runs.engine import side_work
from runs.engine.events import WORKER, record_event
from runs.models import Precheck, Run, ScreenshotSet
from runs.prechecks import execution as prechecks
from runs.repository import open_repository
from runs.rules import Status
from runs.screenshots import camera, rules, storage
from runs.screenshots.availability import find_obstacle
from runs.screenshots.camera import Surface
from runs.screenshots.rules import ScreenshotStatus, Shot, Side

log = logging.getLogger(__name__)

TASK = "runs.screenshots.execution.execute_next"


class _NotShown(Refused):
    """A surface did not answer as what it is to show: it may have been started anew."""

    def __init__(self, detail: str) -> None:
        super().__init__("surface_not_shown", detail)


class _Stopped(Exception):
    """The set has ended, or gives way: `_must_stop` or a lost claim."""


def sweep(config: Config) -> int:
    """Request the pictures of ready runs that have none, and enqueue a task if one can run.

    Returns how many sets are open.
    """
    if not find_obstacle(config):
        _request_due(config)
    ours = ScreenshotSet.objects.on_host(config.host_name)
    return side_work.sweep(ours, TASK, partial(find_wait_reason, config))


def _request_due(config: Config) -> None:
    taken = ScreenshotSet.objects.filter(
        run=OuterRef("pk"), generation=OuterRef("generation"), commit_sha=OuterRef("commit_sha")
    )
    ready = Run.objects.on_host(config.host_name).filter(
        prepare=True, status=Status.PREVIEW_READY, stop_status=""
    )
    for run in ready.exclude(Exists(taken)):
        ScreenshotSet.objects.request(run)


def execute_next() -> None:
    """Take the pictures of the oldest set that can run or has to end; without one, do nothing."""
    config: Config = settings.OROBOROS
    ours = ScreenshotSet.objects.on_host(config.host_name)
    reason = partial(find_wait_reason, config)
    side_work.execute_oldest(config, ours, reason, find_end_reason, partial(execute, config))


def find_wait_reason(config: Config) -> str:
    """Return why no pictures are taken on this host now; "" if they may be.

    The reasons of a precheck, and an open precheck itself: a person waits for that.
    """
    if reason := prechecks.find_wait_reason(config):
        return reason
    is_open = Precheck.objects.on_host(config.host_name).open().exists()
    return rules.PRECHECK if is_open else ""


def find_end_reason(one: ScreenshotSet) -> str:
    """Return why the pictures are of no use any more; "" while they are. Reads the run again.

    Where this host takes none any more, such as switched off, what is open ends as well.
    """
    if obstacle := find_obstacle(settings.OROBOROS):
        return obstacle
    run = Run.objects.get(pk=one.run_id)
    return rules.find_end_reason(
        run.status,
        run.commit_sha,
        run.generation,
        of=(one.commit_sha, one.generation),
        is_stopping=bool(run.stop_status),
    )


def execute(config: Config, one: ScreenshotSet) -> bool:
    """Claim a set and take its pictures, or give way. Returns whether it was claimed."""
    claim = ScreenshotSet.objects.claim(one.pk, make_owner_name())
    if claim is None:
        return False
    one.refresh_from_db()
    rows = ScreenshotSet.objects.all()
    must_stop = partial(_must_stop, config, one)
    with claims.renew_while_running(rows, claim, must_stop), suppress(ClaimLost):
        if one.is_open and not _execute_claimed(config, one, claim):
            return True  # the attempt counts
        # As for a run: what ended without an exception killed no worker.
        rows.filter(pk=claim.pk, claim_fence=claim.fence).update(attempts=0)
    return True


def _must_stop(config: Config, one: ScreenshotSet) -> bool:
    return bool(find_end_reason(one) or find_wait_reason(config))


def _execute_claimed(config: Config, one: ScreenshotSet, claim: Claim) -> bool:
    """Take the pictures, end the set or let it wait. Returns False if it is to be tried again."""
    try:
        if one.attempts > MAX_ATTEMPTS:
            raise Refused("step_kept_dying", f"The worker died {one.attempts - 1} times.")
        camera.remove_processes(config)  # of a worker that was killed
        _take(config, one, claim)
    except Refused as refused:
        if isinstance(refused, _NotShown) and one.attempts < MAX_ATTEMPTS:
            one.wait(claim, refused.detail)
            return False
        _end(one, claim, ScreenshotStatus.FAILED, refused.detail)
    except _Stopped:
        if claim.is_lost:
            return True  # another process has it, or the next worker begins again
        if reason := find_end_reason(one):
            one.end(claim, ScreenshotStatus.CANCELED, reason)
        else:
            one.wait(claim, find_wait_reason(config))
    finally:
        _remove_processes(config)
    return True


def _remove_processes(config: Config) -> None:
    """Kill what is left. A process that stays fails the next set, and is nothing of this one's."""
    try:
        camera.remove_processes(config)
    except Refused as refused:
        log.warning("screenshots have left something: %s", refused.detail)


def _take(config: Config, one: ScreenshotSet, claim: Claim) -> None:
    """Take and store all pictures. Raises Refused, ClaimLost, _Stopped."""
    if _must_stop(config, one):
        raise _Stopped
    one.start(claim)
    run = presenters.select_runs().get(pk=one.run_id)
    shots = rules.plan_shots(read_paths(config, one.commit_sha))
    release = Release.objects.live() if shots else None
    found: dict[Side, dict[Shot, PagePicture]] = {}
    if shots:
        found[Side.PREVIEW] = _photograph_preview(config, run, shots, claim)
    if release is not None:
        known = rules.select_known(shots, _read_live_paths(config, release))
        is_last = one.attempts >= MAX_ATTEMPTS
        found[Side.PRODUCTION] = _photograph_production(config, release, known, claim, is_last)
    # Read again: they show the commit that the row names, or nothing is stored.
    if _must_stop(config, one):
        raise _Stopped
    pairs = [storage.store_pair(config, run, shot, _select_sides(found, shot)) for shot in shots]
    one.update(claim, pictures=pairs, release=release)
    detail = "" if shots else "oroboros.toml names no pages ([screenshots] paths)."
    _end(one, claim, ScreenshotStatus.TAKEN, detail)


def _select_sides(
    found: Mapping[Side, Mapping[Shot, PagePicture]], shot: Shot
) -> dict[Side, PagePicture]:
    return {side: taken[shot] for side, taken in found.items() if shot in taken}


def _end(one: ScreenshotSet, claim: Claim, to: ScreenshotStatus, detail: str) -> None:
    with transaction.atomic():
        one.end(claim, to, detail)
        text = f"screenshots {to}{f': {detail}' if detail else ''}"
        record_event(f"screenshots_{to}", text, actor=WORKER, run=one.run)


def read_paths(config: Config, commit: str) -> tuple[str, ...]:
    """Return the pages that the commit's oroboros.toml names; by default / alone."""
    raw = open_repository(config).read_file(commit, "oroboros.toml") or b""
    # It was read before the preview was made, so it is valid.
    return manifest_loader.read_screenshot_paths(raw.decode(errors="replace"))


def _read_live_paths(config: Config, release: Release) -> tuple[str, ...]:
    """Return the pages that the release's own oroboros.toml names; none if it is not readable."""
    try:
        return read_paths(config, release.commit_sha)
    except Refused:  # by the rules of an earlier version
        return ()


def _photograph_preview(
    config: Config, run: Run, shots: Sequence[Shot], claim: Claim
) -> dict[Shot, PagePicture]:
    slot = presenters.get_served_slot(run)
    if slot is None:
        raise _Stopped
    surface = camera.preview_surface(config, slot, run)
    found = _photograph(config, surface, shots, claim, partial(camera.shows_run, surface, run))
    if found is None:
        raise _NotShown(f"{slot.slot_id} did not show {run.commit_sha[:12]} all the while.")
    return found


def _photograph_production(
    config: Config, release: Release, shots: Sequence[Shot], claim: Claim, is_last: bool
) -> dict[Shot, PagePicture]:
    surface = camera.production_surface(config)

    def shows_it() -> bool:
        return Release.objects.live() == release and camera.shows_release(surface, release)

    found = _photograph(config, surface, shots, claim, shows_it)
    if found is not None:
        return found
    detail = f"production did not show {release} all the while"
    if not is_last:
        raise _NotShown(detail)
    return dict.fromkeys(shots, PagePicture(error=detail))


def _photograph(
    config: Config,
    surface: Surface,
    shots: Sequence[Shot],
    claim: Claim,
    shows_it: Callable[[], bool],
) -> dict[Shot, PagePicture] | None:
    """Return the pictures; None unless `shows_it` before and after them. Raises _Stopped."""

    def is_stopping() -> bool:
        return claim.is_lost or claim.stop_requested.is_set()

    if not shots:
        return {}
    if not shows_it():
        return None
    found = camera.take_pictures(config, surface, shots, is_stopping)
    if is_stopping():
        raise _Stopped
    return dict(zip(shots, found, strict=True)) if shows_it() else None
