"""What a rollback to a release would take back, and whether it is allowed."""

from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import get_repository
from releases.builds import build_manifest
from releases.builds.build_folders import build_folder
from releases.models import Deployment, DeploymentInProgress, Release
from releases.rules import (
    DeploymentKind,
    DeploymentOutcome,
    MigratedRelease,
    ReleaseStatus,
    filter_migrations,
    format_rollback_command,
    list_irreversible_changes,
)

# Commits that a plan lists at most. It lists every file: migrations are found among them.
LIST_LIMIT = 200
# How many rollbacks in a row are followed back to the releases that they left.
ROLLBACKS = 50


@dataclass(frozen=True)
class RollbackPlan:
    """The differences between the live release and `release`, to which the rollback goes.

    `commits` are the newest of `commit_count`.
    """

    release: Release
    live: Release | None
    commits: list[dict[str, str]]
    files: list[str]
    migrations: list[str]
    irreversible: list[str]
    commit_count: int = 0

    @property
    def omitted_commits(self) -> int:
        return self.commit_count - len(self.commits)

    @property
    def command(self) -> str:
        """The shell command that does the rollback."""
        return format_rollback_command(self.release.pk, accept_schema=bool(self.irreversible))

    def as_dict(self) -> dict[str, Any]:
        """Return it as API and commands show it."""
        return {
            "release_id": self.release.pk,
            "from_release_id": self.live and self.live.pk,
            "commits": self.commits,
            "commit_count": self.commit_count,
            "files": self.files,
            "migrations": self.migrations,
            "irreversible": self.irreversible,
            "command": self.command,
        }


def list_last_rollbacks() -> list[Deployment]:
    """Return the rollbacks, newest first, since the last deployment of a new release.

    Also one that is running; deployments that were undone do not count.
    """
    outcomes = (DeploymentOutcome.RUNNING, DeploymentOutcome.SUCCEEDED)
    switches = Deployment.objects.filter(outcome__in=outcomes).order_by("-number")
    newest = switches.select_related("release", "previous")[:ROLLBACKS]
    return list(takewhile(lambda one: one.kind == DeploymentKind.ROLLBACK, newest))


def find_rollback_target() -> Release | None:
    """Return the healthy release that was live last before the live one.

    Never a newer one that a rollback has left.
    """
    live = Release.objects.live()
    candidates = Release.objects.healthy().exclude(status=ReleaseStatus.LIVE)
    if live is not None:
        left = [one.previous_id for one in list_last_rollbacks()]
        candidates = candidates.exclude(pk__in=left, created_at__gt=live.created_at)
        earlier = candidates.filter(activated_at__lt=live.activated_at)
        # A release that returned when a deployment was undone keeps its time: others may be later.
        return earlier.first() or candidates.first()
    return candidates.first()


def make_rollback_plan(config: Config, release: Release) -> RollbackPlan:
    """Return what a rollback to `release` takes back: commits, files, schema changes."""
    live = Release.objects.live()
    commits, commit_count, files = _compare_with_live(config, release, live)
    later = find_later_migrations(release)
    migrations = {name for entry in later for name in entry.migrations}
    if later:
        # A release lists only migrations that were new against the one live at its build.
        migrations |= set(filter_migrations(files))
    irreversible = list_irreversible_changes(later)
    return RollbackPlan(
        release, live, commits, files, sorted(migrations), irreversible, commit_count
    )


def find_later_migrations(release: Release) -> list[MigratedRelease]:
    """Return the releases that migrated production's database after this one, oldest first."""
    # A release without a `release:` command ran with the schema that production had then.
    since = release.migrated_at or release.activated_at or release.created_at
    later = Release.objects.filter(migrated_at__gt=since).exclude(pk=release.pk)
    return [
        MigratedRelease(entry.pk, entry.migrations, entry.schema_changes)
        for entry in later.order_by("migrated_at")
    ]


def check_rollback(config: Config, release: Release, *, accept_schema: bool) -> None:
    """Raise Refused if the rollback is impossible or not allowed. Changes nothing."""
    if release.status == ReleaseStatus.LIVE:
        raise Refused("release_already_current", f"{release} is live already.")
    if not release.was_healthy:
        raise Refused("release_not_rollbackable", f"{release} was never healthy in production.")
    if release.removed_at is not None:
        raise Refused(
            "release_not_rollbackable",
            f"The build of {release} was removed by retention; deploy its commit again: "
            f"./scripts/deploy.sh {release.commit_sha}",
        )
    if not accept_schema:
        _check_schema(release)
    build_manifest.verify_build(build_folder(config, release.pk), release.checksum)
    running = Deployment.objects.running().first()
    if running is not None:
        raise DeploymentInProgress(f"{running} is under way: wait for it.")


def _check_schema(release: Release) -> None:
    """Raise Refused if a later migration dropped or narrowed something."""
    irreversible = list_irreversible_changes(find_later_migrations(release))
    if irreversible:
        command = format_rollback_command(release.pk, accept_schema=True)
        raise Refused(
            "rollback_blocked_by_migration",
            f"{'; '.join(irreversible)}. {release} was written for the earlier schema. "
            f"To roll back nevertheless: {command}",
        )


def _compare_with_live(
    config: Config, release: Release, live: Release | None
) -> tuple[list[dict[str, str]], int, list[str]]:
    """Return the newest commits, their number, and the changed files.

    None of them if the repository no longer has both commits.

    A rollback needs no repository, so a missing commit must not prevent it.
    """
    if live is None:
        return [], 0, []
    repository = get_repository(config)
    target, present = release.commit_sha, live.commit_sha
    try:
        if not (repository.has_commit(target) and repository.has_commit(present)):
            return [], 0, []
        entries = repository.list_commits(target, present, limit=LIST_LIMIT)
        count = repository.count_commits(target, present)
        files = repository.list_changed_files(target, present)
    except (Refused, FileNotFoundError):
        return [], 0, []
    return [asdict(entry) for entry in entries], count, files
