"""Retention: removes unused installs and template databases, and the files of old runs.

Idempotent: the queue, the supervisor and a systemd timer run it. Each removal is an event as well.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from django.db.models import Q

from core.clock import get_database_time
from host.app import installs
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.postgres import guard
from releases.builds import build_manifest
from runs.engine import step_notes
from runs.engine.artifacts import artifacts_folder
from runs.engine.events import RECONCILER, record_event
from runs.leasing.grants import grant_lock
from runs.lifecycle import finish
from runs.models import Run
from runs.pipelines import template_databases
from runs.pipelines.shipping import delete_candidate_ref
from runs.repository import find_preview_base, open_repository
from runs.rules import Status
from slots.models import Lease
from slots.runtime import spec

INSTALLS_SECONDS = 14 * 24 * 3600
TEMPLATES_SECONDS = 24 * 3600
# Default of TEMPLATE_DATABASES_KEEP. A small one has 8 MB, as every database of PostgreSQL.
TEMPLATES_KEPT = 10
# A run may be about to clone a template that no row names yet.
TEMPLATE_IN_USE_SECONDS = 300
RUNS_SECONDS = 90 * 24 * 3600
RESERVATIONS_SECONDS = 24 * 3600


def remove_unneeded(config: Config, dry_run: bool = False) -> list[str]:
    """Remove what is unneeded, unless `dry_run`. Returns what was found, as sentences."""
    sentences = []
    for remove in (_remove_installs, _remove_templates, _remove_run_files, _end_idle_reservations):
        sentences += _record_removals(remove(config, dry_run), dry_run)
    return sentences


def remove_templates(config: Config, dry_run: bool = False) -> list[str]:
    """Drop the template databases that nothing needs: those of a day ago, and those above the cap.

    `TEMPLATE_DATABASES_KEEP` is the cap. The ones that were needed longest ago are dropped first.
    """
    return _record_removals(_remove_templates(config, dry_run), dry_run)


def _record_removals(removals: Iterable[str], dry_run: bool) -> list[str]:
    sentences = []
    for sentence in removals:
        sentences.append(sentence)
        # At once: an error in a later removal must not lose the record of this one.
        if not dry_run:
            record_event("removed", sentence, actor=RECONCILER)
    return sentences


def _remove_installs(config: Config, dry_run: bool) -> Iterator[str]:
    """Remove the installs that were unused for long and that no slot or kept release refers to."""
    seconds = config.get_seconds("RETENTION_INSTALLS_SECONDS", INSTALLS_SECONDS)
    unused = installs.list_unused_installs(config, seconds)
    references = _read_references(config) if unused else ""
    for name in unused:
        if name not in references and (dry_run or installs.remove_install(config, name, seconds)):
            yield f"install {name} removed: unused for {seconds / 86400:.0f} days"


def _read_references(config: Config) -> str:
    """Return the text of the slots' specs and of the program folders of the kept releases."""
    folders = [slot.folder for slot in config.slots]
    paths = [folder / name for folder in folders for name in ("spec.json", "environment.json")]
    # An install's name is a hash, so a search in the text finds it in any path of a command.
    texts = [path.read_text() for path in paths if path.exists()]
    root = config.var / "releases"
    manifests = (
        [build_manifest.read_manifest(folder) for folder in root.iterdir()] if root.exists() else []
    )
    return "\n".join([*texts, *(json.dumps(one["bins"]) for one in manifests if one)])


def _remove_templates(config: Config, dry_run: bool) -> Iterator[str]:
    """Drop templates, with their roles, and record since when the others are unneeded."""
    from host.postgres.administration import DatabaseAdmin

    admin, at = DatabaseAdmin(config), get_database_time()
    try:
        needed = _find_needed_templates(config)
    except Refused:  # without a target branch the current template is unknown
        return
    templates = admin.list_templates()
    keep = config.get_integer("TEMPLATE_DATABASES_KEEP", TEMPLATES_KEPT)
    unneeded = select_unneeded_templates(templates, needed, keep, at)
    for name in unneeded:
        if not dry_run:
            template_databases.drop_template(config, name)
        yield f"{name} dropped: no slot and no run needs it"
    if not dry_run:
        for name in templates.keys() - {*unneeded}:
            since = None if name in needed else templates[name] or at
            if since != templates[name]:
                admin.record_unneeded_since(name, since)
        template_databases.remove_strays(config)


def select_unneeded_templates(
    templates: Mapping[str, datetime | None], needed: Collection[str], keep: int, at: datetime
) -> list[str]:
    """Return the templates to drop; the values of `templates` say since when none is needed.

    Dropped are those unneeded for a day, and of the others the oldest above `keep` in all. One
    that was needed within TEMPLATE_IN_USE_SECONDS stays.
    """
    unneeded = sorted(
        (since, name) for name, since in templates.items() if since and name not in needed
    )
    old = [name for since, name in unneeded if at - since >= timedelta(seconds=TEMPLATES_SECONDS)]
    in_use = timedelta(seconds=TEMPLATE_IN_USE_SECONDS)
    idle = [name for since, name in unneeded if at - since >= in_use]
    # Both are the first ones of the same order, so the longer list has all of the other.
    return max(old, idle[: max(0, len(templates) - keep)], key=len)


def _find_needed_templates(config: Config) -> set[str]:
    """Return the templates of the target branch, of slots, and of runs that ship."""
    base = find_preview_base(open_repository(config), config.target_branch)
    bases = Run.objects.unfinished().exclude(base_sha="").values_list("base_sha", flat=True)
    named = [step_notes.read_note(slot.folder, "database").get("template") for slot in config.slots]
    named += [spec.read(slot).template for slot in config.slots]
    return {guard.template_name(commit) for commit in (base, *bases)} | {*filter(None, named)}


def _remove_run_files(config: Config, dry_run: bool) -> Iterator[str]:
    """Remove logs, artifacts and candidate refs of runs that ended long ago; other rows stay.

    A run whose release still has its build keeps them: production may be rolled back to it.
    """
    seconds = config.get_seconds("RETENTION_RUNS_SECONDS", RUNS_SECONDS)
    before = get_database_time() - timedelta(seconds=seconds)
    found = Run.objects.filter(ended_at__lt=before, artifacts__isnull=False).distinct()
    for run in found.exclude(release__isnull=False, release__removed_at=None):
        if not dry_run:
            _remove_artifacts(config, run)
        yield f"artifacts of run {run.pk} removed: it ended over {seconds / 86400:.0f} days ago"


def _end_idle_reservations(config: Config, dry_run: bool) -> Iterator[str]:
    """Expire the reservations that were released, or left the queue, and asked for no slot since.

    Such a run is `queued` and has no lease; nothing else would ever end it.
    """
    before = get_database_time() - timedelta(seconds=RESERVATIONS_SECONDS)
    is_recent = Lease.objects.filter(Q(ended_at=None) | Q(ended_at__gte=before))
    idle = Run.objects.filter(prepare=False, status=Status.QUEUED, created_at__lt=before)
    for run in idle.exclude(pk__in=is_recent.values("run_id")):
        if dry_run or _expire_reservation(run):
            yield f"reservation {run.pk} expired: it asked for no slot for a day"


def _expire_reservation(run: Run) -> bool:
    """Expire the run; return False if it asked for a slot meanwhile."""
    with grant_lock():
        run.refresh_from_db()
        if run.status != Status.QUEUED or Lease.objects.open().filter(run=run).exists():
            return False
        detail = "The reservation asked for no slot for a day."
        finish.move_to_final_status(
            run, None, Status.EXPIRED, code="", detail=detail, actor=RECONCILER
        )
    return True


def _remove_artifacts(config: Config, run: Run) -> None:
    """Remove a run's files. Its artifact rows go last: the next attempt finds the run by them."""
    delete_candidate_ref(open_repository(config), run)
    ownership.delete_tree(artifacts_folder(config) / str(run.pk))
    run.artifacts.all().delete()
