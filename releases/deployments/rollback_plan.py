"""What a rollback would take back, and whether it may be done."""

from dataclasses import dataclass
from typing import Any

from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from releases.builds import build_manifest
from releases.models import Activation, Release
from releases.production import app
from releases.rules import Crossed, ReleaseStatus, blocking, migrations_among, rollback_command

LISTED = 200


@dataclass(frozen=True)
class WayBack:
    """A rollback before it is done: what is live, and what `release` has not."""

    release: Release
    live: Release | None
    commits: list[dict[str, str]]
    files: list[str]
    migrations: list[str]
    irreversible: list[str]

    @property
    def command(self) -> str:
        """The exact command that does it."""
        return rollback_command(self.release.pk, accept_schema=bool(self.irreversible))

    def as_dict(self) -> dict[str, Any]:
        """For the API and the scripts."""
        return {
            "release_id": self.release.pk,
            "from_release_id": self.live and self.live.pk,
            "commits": self.commits,
            "files": self.files,
            "migrations": self.migrations,
            "irreversible": self.irreversible,
            "command": self.command,
        }


def offered() -> Release | None:
    """Return the healthy release that was live last before the present one."""
    live = Release.objects.live()
    ways = Release.objects.healthy().exclude(status=ReleaseStatus.LIVE)
    if live is not None:
        earlier = ways.filter(activated_at__lt=live.activated_at)
        return earlier.first() or ways.first()
    return ways.first()


def preview(config: Config, release: Release) -> WayBack:
    """Return what going to `release` takes back: commits, files, migrations crossed."""
    live = Release.objects.live()
    commits, changed = _difference(config, release, live)
    crossed = crossing(release)
    migrations = {name for one in crossed for name in one.migrations}
    return WayBack(
        release,
        live,
        commits,
        changed,
        sorted(migrations | set(migrations_among(changed)) if crossed else migrations),
        blocking(crossed),
    )


def crossing(release: Release) -> list[Crossed]:
    """Return the releases whose migrations ran on production after this one's own."""
    if release.migrated_at is None:
        later = Release.objects.filter(migrated_at__gt=release.activated_at or release.created_at)
    else:
        later = Release.objects.filter(migrated_at__gt=release.migrated_at)
    return [
        Crossed(one.pk, one.migrations, one.schema_changes)
        for one in later.exclude(pk=release.pk).order_by("migrated_at")
    ]


def check(config: Config, release: Release, *, accept_schema: bool) -> None:
    """Refuse a rollback that cannot or should not be done; reads only. Raises Refused."""
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
    blocked = blocking(crossing(release))
    if blocked and not accept_schema:
        raise Refused(
            "rollback_blocked_by_migration",
            f"{'; '.join(blocked)}. {release} was written for the schema before. To go back all "
            f"the same: {rollback_command(release.pk, accept_schema=True)}",
        )
    build_manifest.verify(app.folder(config, release.pk), release.checksum)
    under_way = Activation.objects.running().first()
    if under_way is not None:
        raise Refused("activation_in_progress", f"{under_way} is under way: wait for it.")


def _difference(
    config: Config, release: Release, live: Release | None
) -> tuple[list[dict[str, str]], list[str]]:
    """Ask the repository; commits it no longer has are a rollback's least worry."""
    if live is None:
        return [], []
    repository = Repository(config.var / "repo.git", config)
    target, present = release.commit_sha, live.commit_sha
    try:
        if not (repository.has(target) and repository.has(present)):
            return [], []
        entries = repository.log(target, present, limit=LISTED)
        changed = repository.changed_files(target, present)[:LISTED]
    except (Refused, FileNotFoundError):
        return [], []
    return [
        {"sha": entry.sha, "author": entry.author, "at": entry.at, "subject": entry.subject}
        for entry in entries
    ], changed
