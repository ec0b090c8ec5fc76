"""Which parts of an application a commit changes: its backend, its frontend, or other files."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from host.app.application import Application
from host.app.manifest import Manifest
from releases.rules import has_backend_changes
from runs.engine.step_context import StepContext
from runs.repository import find_preview_base, open_repository

BACKEND, FRONTEND, OTHER = "backend", "frontend", "other"


def find_changed_parts(context: StepContext, app: Application) -> list[str]:
    """Return the parts in which the run's commit differs from where its branch began."""
    repo, commit = open_repository(context.config), context.run.commit_sha
    base = repo.find_merge_base(find_preview_base(repo, context.config.target_branch), commit)
    return [] if base is None else list_parts(repo.list_changed_files(base, commit), app.manifest)


def list_parts(files: Iterable[str], manifest: Manifest) -> list[str]:
    """Return the parts to which the changed files belong, in a fixed order.

    A file of neither folder, such as a package that both use, is another one.
    """
    has_frontend = manifest.frontend_output is not None or bool(manifest.frontend_build)
    frontend = manifest.frontend_dir if has_frontend else None
    backend = manifest.backend_dir if manifest.web is not None else None
    found = {part for name in files for part in _find_parts(name, backend, frontend) or [OTHER]}
    return [part for part in (BACKEND, FRONTEND, OTHER) if part in found]


def _find_parts(name: str, backend: str | None, frontend: str | None) -> list[str]:
    parts = []
    if backend is not None and has_backend_changes([name], backend, frontend):
        parts.append(BACKEND)
    if frontend is not None and PurePosixPath(name).is_relative_to(frontend):
        parts.append(FRONTEND)
    return parts
