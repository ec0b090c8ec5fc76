"""What nobody needs any more: shared installs, databases that slots were cloned from, runs' files.

Idempotent, and run by the worker and by a timer both. What is removed is an event too.
"""

import json
from collections.abc import Iterator
from datetime import timedelta

from core.clock import database_time
from host.app import installs
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.postgres import guard
from releases.builds import build_manifest
from runs.engine.journal import artifacts_folder, record
from runs.leasing.backend_supervision import RECONCILER
from runs.models import Run
from runs.pipelines import app_commands, template_databases
from runs.pipelines.shipping import CANDIDATES
from runs.repository import repository, shown_base
from slots.runtime import spec

INSTALLS_SECONDS = 14 * 24 * 3600
TEMPLATES_SECONDS = 24 * 3600
RUNS_SECONDS = 90 * 24 * 3600


def remove_unneeded(config: Config, dry_run: bool = False) -> list[str]:
    """Remove it; returns what was removed (with `dry_run` what would be), as sentences."""
    found = []
    for part in (_installs, _templates, _runs):
        for sentence in part(config, dry_run):
            found.append(sentence)
            if not dry_run:
                record("removed", sentence, actor=RECONCILER)
    return found


def _installs(config: Config, dry_run: bool) -> Iterator[str]:
    """Installs that were unused for long, and that nothing names which may still be started."""
    seconds = config.seconds("RETENTION_INSTALLS_SECONDS", INSTALLS_SECONDS)
    unused = installs.unused(config, seconds)
    named = _named(config) if unused else ""
    for name in unused:
        if name not in named and (dry_run or installs.remove(config, name, seconds)):
            yield f"install {name} removed: unused for {seconds / 86400:.0f} days"


def _named(config: Config) -> str:
    """Return the text of what slots run and of the programs of the releases that are kept."""
    folders = [slot.folder for slot in config.slots]
    paths = [folder / name for folder in folders for name in ("spec.json", "environment.json")]
    texts = [path.read_text() for path in paths if path.exists()]
    root = config.var / "releases"
    facts = [build_manifest.facts(folder) for folder in root.iterdir()] if root.exists() else []
    return "\n".join([*texts, *(json.dumps(one["bins"]) for one in facts if one)])


def _templates(config: Config, dry_run: bool) -> Iterator[str]:
    """Templates that were noted as nobody's a day ago, and still are."""
    from host.postgres.administration import Admin

    admin, at = Admin(config), database_time()
    try:
        needed = _needed(config)
    except Refused:  # without a target branch nothing says which template is today's
        return
    for name, since in admin.templates().items():
        is_old = since is not None and at - since >= timedelta(seconds=TEMPLATES_SECONDS)
        if is_old and name not in needed:
            if not dry_run:
                admin.drop(name)
                template_databases.schema_file(config, name).unlink(missing_ok=True)
            yield f"{name} dropped: no slot and no run needs it"
        elif not dry_run:
            wanted = None if name in needed else since or at
            if wanted != since:
                admin.note_unneeded(name, wanted)


def _needed(config: Config) -> set[str]:
    """Return the templates of the target branch, of slots, and of runs that ship."""
    base = shown_base(repository(config), config.target_branch)
    bases = Run.objects.unfinished().exclude(base_sha="").values_list("base_sha", flat=True)
    named = [app_commands.noted(slot.folder, "database").get("template") for slot in config.slots]
    named += [spec.read(slot).template for slot in config.slots]
    return {guard.template_name(commit) for commit in (base, *bases)} | {*filter(None, named)}


def _runs(config: Config, dry_run: bool) -> Iterator[str]:
    """Logs, artifacts and candidates' refs of runs that ended long ago; their other rows stay.

    A run whose release still has its build is kept whole: somebody may yet go back to it.
    """
    seconds = config.seconds("RETENTION_RUNS_SECONDS", RUNS_SECONDS)
    before = database_time() - timedelta(seconds=seconds)
    found = Run.objects.filter(ended_at__lt=before, artifacts__isnull=False).distinct()
    for run in found.exclude(release__isnull=False, release__removed_at=None):
        if not dry_run:
            _forget(config, run)
        yield f"artifacts of run {run.pk} removed: it ended over {seconds / 86400:.0f} days ago"


def _forget(config: Config, run: Run) -> None:
    """Remove what a run left; its rows of artifacts go last, since the next time begins at them."""
    repo, ref = repository(config), f"{CANDIDATES}/{run.pk}"
    head = repo.head(ref)
    if head is not None:
        repo.update_ref(ref, None, head)
    ownership.delete(artifacts_folder(config) / str(run.pk))
    run.artifacts.all().delete()
