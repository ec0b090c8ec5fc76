"""The rules of releases and deployments: values in, values out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath

from django.db.models import TextChoices

from host.errors import Refused

# [0-9] and not \d, which also matches other digits of Unicode.
RELEASE_ID = re.compile(r"r-[0-9]{14}-[0-9a-f]{12}")
COLOURS = ("blue", "green")
# Files beside the backend's folder that decide how it is installed or started.
BACKEND_FILES = frozenset(
    {"Procfile", "app.json", "oroboros.toml", "pyproject.toml", "uv.lock", "poetry.lock"}
    | {"requirements.txt", "package.json", "package-lock.json", "pnpm-lock.yaml", "yarn.lock"}
    | {"Gemfile", "Gemfile.lock", "go.mod", "go.sum", "Cargo.toml", "Cargo.lock"}
)
# In this order: Django and most others, Rails, Alembic, Flyway.
MIGRATION_FOLDERS = frozenset({"migrations", "migrate", "versions", "migration"})
MIGRATION_SUFFIXES = frozenset(
    {".sql", ".py", ".rb", ".js", ".ts", ".php", ".java", ".exs", ".xml", ".yml", ".yaml"}
)
# Kinds of schema changes after which an earlier release may miss data or columns.
IRREVERSIBLE = ("drops", "narrows")


class ReleaseStatus(TextChoices):
    """The state of a release; exactly one is live."""

    BUILDING = "building"
    BUILT = "built"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"
    STUCK = "stuck"


# The longest delay before a background process of production that keeps ending is started again.
MAX_PROCESS_DELAY_SECONDS = 60.0


def is_process_restart_due(restarts: int, seconds: float) -> bool:
    """Return whether a process of production is started again, `seconds` after its last restart.

    The delays grow with the restarts in a row: 0, 2, 4, 8 … 60 seconds.
    """
    # Negative: the clock was set back.
    return seconds < 0 or seconds >= min(2.0 ** min(restarts, 10), MAX_PROCESS_DELAY_SECONDS)


def count_process_restart(restarts: int, seconds: float) -> int:
    """Return the restarts in a row with one more, `seconds` after the last one.

    A process that ran for longer than the longest delay counts from 0 again.
    """
    return 1 if seconds > 2 * MAX_PROCESS_DELAY_SECONDS else restarts + 1


# A request that read the current link before a switch connects to its backend within this time.
SETTLE_SECONDS = 1.0


class DeploymentKind(TextChoices):
    """Whether a deployment goes to a new release or back to an earlier one."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"


class DeploymentOutcome(TextChoices):
    """How a deployment ended: `restored` if the previous release is live again, `stuck` if not."""

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
    # The cause may lie outside the release, so it may be deployed again.
    ReleaseStatus.FAILED: {ReleaseStatus.LIVE, ReleaseStatus.STUCK},
    ReleaseStatus.STUCK: {ReleaseStatus.LIVE, ReleaseStatus.FAILED, ReleaseStatus.RETIRED},
}


def validate_release_id(release_id: str) -> str:
    """Return `release_id` if it is well formed. Raises Refused `release_id_invalid` (400)."""
    if not RELEASE_ID.fullmatch(release_id):
        raise Refused(
            "release_id_invalid",
            "A release id is r-<14 digits>-<12 hex>, as scripts/release-registry.sh list shows it.",
            status=400,
        )
    return release_id


def make_release_id(commit: str, at: datetime) -> str:
    """Return the id of the release of `commit` whose build starts at `at`."""
    return f"r-{at.astimezone(UTC):%Y%m%d%H%M%S}-{commit[:12]}"


def other_colour(colour: str) -> str:
    """Return the colour that a new release starts as while `colour` is live."""
    return COLOURS[1] if colour == COLOURS[0] else COLOURS[0]


def has_backend_changes(files: Iterable[str], backend: str, frontend: str | None) -> bool:
    """Return whether a change of `files` needs the reload hook and the health gate.

    `backend` and `frontend` are folders of the manifest. If the backend is the whole tree, every
    file outside the frontend's folder belongs to it.
    """
    return any(_is_backend(PurePosixPath(name), backend, frontend) for name in files)


def _is_backend(path: PurePosixPath, backend: str, frontend: str | None) -> bool:
    if str(path) in BACKEND_FILES:
        return True
    if backend not in ("", "."):
        return path.is_relative_to(backend)
    # Without a frontend folder of its own, every file may be part of the backend.
    return frontend in (None, "", ".") or not path.is_relative_to(str(frontend))


def filter_migrations(files: Iterable[str]) -> list[str]:
    """Return those of the changed files that are migrations, by the folders frameworks use."""
    return [name for name in files if _is_migration(PurePosixPath(name))]


def _is_migration(path: PurePosixPath) -> bool:
    return (
        path.suffix in MIGRATION_SUFFIXES
        # Django's folder of migrations is a package, whose __init__.py migrates nothing.
        and path.stem != "__init__"
        and bool(MIGRATION_FOLDERS.intersection(path.parts[:-1]))
    )


def is_drained(connections: int, seconds: float, limit: float) -> bool:
    """Return whether a backend may be stopped so many seconds after it ceased to be live.

    Its requests have ended if it has no open connections: the surface closes an idle one after a
    second (`infra/caddy/Surface.Caddyfile`). A request that was sent to it before the switch may
    not have connected yet, so a second passes anyway, unless the `limit` is shorter.
    """
    return seconds >= limit or (seconds >= SETTLE_SECONDS and connections == 0)


@dataclass(frozen=True)
class MigratedRelease:
    """A release that migrated production after the release that a rollback goes to."""

    release_id: str
    migrations: Sequence[str]
    changes: Sequence[dict[str, str]]

    @property
    def irreversible(self) -> list[str]:
        """What it dropped or narrowed, one sentence each."""
        return [change["text"] for change in self.changes if change["kind"] in IRREVERSIBLE]


def list_irreversible_changes(releases: Iterable[MigratedRelease]) -> list[str]:
    """Return what a rollback past these releases cannot undo, one line each."""
    return [f"{release.release_id} {text}" for release in releases for text in release.irreversible]


def format_rollback_command(release_id: str, *, accept_schema: bool = False) -> str:
    """Return the shell command that rolls production back to the release."""
    return f"./scripts/rollback.sh {release_id}{' --accept-schema' if accept_schema else ''}"


def select_releases_to_keep(healthy: Sequence[str], live: str | None, keep: int) -> set[str]:
    """Return the releases that retention keeps: the live one and the last `keep` healthy ones.

    `healthy` are those that passed a health gate once, the last activated first.
    """
    return set(healthy[:keep]) | ({live} if live else set())
