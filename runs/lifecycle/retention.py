"""Retention: removes unused installs and template databases, and the files of old runs.

Idempotent: the queue, the supervisor and a systemd timer run it. Each removal is an event as well.
"""

import json
from collections.abc import Iterator
from datetime import timedelta

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
from runs.models import Run
from runs.pipelines import template_databases
from runs.pipelines.shipping import delete_candidate_ref
from runs.repository import find_preview_base, open_repository
from slots.runtime import spec

INSTALLS_SECONDS = 14 * 24 * 3600
TEMPLATES_SECONDS = 24 * 3600
RUNS_SECONDS = 90 * 24 * 3600


def remove_unneeded(config: Config, dry_run: bool = False) -> list[str]:
    """Remove what is unneeded, unless `dry_run`. Returns what was found, as sentences."""
    sentences = []
    for remove in (_remove_installs, _remove_templates, _remove_run_files):
        for sentence in remove(config, dry_run):
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
    """Drop the template databases that were marked as unneeded a day ago and still are."""
    from host.postgres.administration import DatabaseAdmin

    admin, at = DatabaseAdmin(config), get_database_time()
    try:
        needed = _find_needed_templates(config)
    except Refused:  # without a target branch the current template is unknown
        return
    for name, since in admin.list_templates().items():
        is_old = since is not None and at - since >= timedelta(seconds=TEMPLATES_SECONDS)
        if is_old and name not in needed:
            if not dry_run:
                admin.drop(name)
                template_databases.template_schema_path(config, name).unlink(missing_ok=True)
            yield f"{name} dropped: no slot and no run needs it"
        elif not dry_run:
            unneeded_since = None if name in needed else since or at
            if unneeded_since != since:
                admin.record_unneeded_since(name, unneeded_since)


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


def _remove_artifacts(config: Config, run: Run) -> None:
    """Remove a run's files. Its artifact rows go last: the next attempt finds the run by them."""
    delete_candidate_ref(open_repository(config), run)
    ownership.delete_tree(artifacts_folder(config) / str(run.pk))
    run.artifacts.all().delete()
