"""What releases and the switches to them may become: values in, values out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from django.db.models import TextChoices

from host.errors import Refused

RELEASE_ID = re.compile(r"r-[0-9]{14}-[0-9a-f]{12}")
COLOURS = ("blue", "green")
# Files beside the backend's folder that decide how it is installed or started.
BACKEND_FILES = frozenset(
    {"Procfile", "app.json", "oroboros.toml", "pyproject.toml", "uv.lock", "poetry.lock"}
    | {"requirements.txt", "package.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock"}
    | {"Gemfile", "Gemfile.lock", "go.mod", "go.sum", "Cargo.toml", "Cargo.lock"}
)
# Django's and most others', Rails', Alembic's, Flyway's.
MIGRATION_FOLDERS = frozenset({"migrations", "migrate", "versions", "migration"})
MIGRATION_SUFFIXES = frozenset(
    {".sql", ".py", ".rb", ".js", ".ts", ".php", ".java", ".exs", ".xml", ".yml", ".yaml"}
)
# What a schema can no longer give back to a release that was written before the change.
IRREVERSIBLE = ("drops", "narrows")


class ReleaseStatus(TextChoices):
    """What happened to a release; exactly one is live."""

    BUILDING = "building"
    BUILT = "built"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"
    STUCK = "stuck"


class ActivationKind(TextChoices):
    """Why a release is made live."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class ActivationOutcome(TextChoices):
    """How a switch ended. Restored: what was live before serves again."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RESTORED = "restored"
    STUCK = "stuck"


MOVES: dict[str, set[ReleaseStatus]] = {
    ReleaseStatus.BUILDING: {ReleaseStatus.BUILT, ReleaseStatus.FAILED},
    ReleaseStatus.BUILT: {ReleaseStatus.LIVE, ReleaseStatus.FAILED, ReleaseStatus.STUCK},
    ReleaseStatus.LIVE: {ReleaseStatus.RETIRED, ReleaseStatus.FAILED, ReleaseStatus.STUCK},
    ReleaseStatus.RETIRED: {ReleaseStatus.LIVE, ReleaseStatus.STUCK},
    # What failed for a reason outside of it may be tried again.
    ReleaseStatus.FAILED: {ReleaseStatus.LIVE, ReleaseStatus.STUCK},
    ReleaseStatus.STUCK: {ReleaseStatus.LIVE, ReleaseStatus.FAILED, ReleaseStatus.RETIRED},
}


def validate_release_id(release_id: str) -> str:
    """Return `release_id` if it has the form of one. Raises Refused `release_id_invalid` (400)."""
    if not RELEASE_ID.fullmatch(release_id):
        raise Refused(
            "release_id_invalid",
            "A release id is r-<14 digits>-<12 hex>, as scripts/release-registry.sh list shows it.",
            status=400,
        )
    return release_id


def release_id_for(commit: str, at: datetime) -> str:
    """Return the id of a release of `commit` whose build begins at `at`."""
    return f"r-{at.astimezone(UTC):%Y%m%d%H%M%S}-{commit[:12]}"


def other_colour(colour: str) -> str:
    """Return the colour a new release starts as while `colour` (or none yet) serves."""
    return COLOURS[1] if colour == COLOURS[0] else COLOURS[0]


def changes_backend(files: Iterable[str], backend: str, frontend: str | None) -> bool:
    """Tell whether a change of `files` needs the reload hook and the health gate.

    `backend` and `frontend` are the folders of the manifest. Where the backend is the whole tree,
    everything outside of the frontend's folder counts.
    """
    return any(_is_backend(PurePosixPath(name), backend, frontend) for name in files)


def _is_backend(path: PurePosixPath, backend: str, frontend: str | None) -> bool:
    if str(path) in BACKEND_FILES:
        return True
    if backend not in ("", "."):
        return path.is_relative_to(backend)
    return frontend in (None, "", ".") or not path.is_relative_to(str(frontend))


def migrations_among(files: Iterable[str]) -> list[str]:
    """Return those of the changed files that are migrations, by the folders frameworks use."""
    return [name for name in files if _is_migration(PurePosixPath(name))]


def _is_migration(path: PurePosixPath) -> bool:
    return (
        path.suffix in MIGRATION_SUFFIXES
        and path.stem != "__init__"
        and bool(MIGRATION_FOLDERS.intersection(path.parts[:-1]))
    )


@dataclass(frozen=True)
class Crossed:
    """A release whose `release:` changed production's schema after the target's had run."""

    release_id: str
    migrations: Sequence[str]
    changes: Sequence[dict[str, str]]

    @property
    def irreversible(self) -> list[str]:
        """Sentences on what it dropped or narrowed."""
        return [change["text"] for change in self.changes if change["kind"] in IRREVERSIBLE]


def blocking(crossed: Iterable[Crossed]) -> list[str]:
    """Return what stands in the way of going back across those releases, one line each."""
    return [f"{release.release_id} {text}" for release in crossed for text in release.irreversible]


def rollback_command(release_id: str, *, accept_schema: bool = False) -> str:
    """Return the shell command that takes production to that release."""
    return f"./scripts/rollback.sh {release_id}{' --accept-schema' if accept_schema else ''}"


def kept(healthy: Sequence[str], live: str | None, keep: int) -> set[str]:
    """Return the releases retention keeps: the live one and the last `keep` healthy ones.

    `healthy` are those whose health gate passed once, the last one live first.
    """
    return set(healthy[:keep]) | ({live} if live else set())
