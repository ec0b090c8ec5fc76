"""Builds a commit for production: writes its tree, installs, builds, then makes it read-only."""

import errno
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import log_message
from host.app import environment
from host.app.application import Application, read_application
from host.app.command_runner import CommandFailed
from host.app.dependencies.network_failures import explain_network_failure_of
from host.app.resources import storage
from host.config import Config
from host.errors import ApplicationRefused, Refused
from host.files import ownership, public_folder, site_fallback
from host.files.file_lock import file_lock
from host.files.site_fallback import Fallback
from host.git.bare_repository import Repository
from host.masking.known_secrets import read_masks
from host.process.users import User
from releases.builds import build_folders, build_manifest
from releases.builds.build_folders import build_folder, source_folder
from releases.builds.launch_spec import LaunchSpec
from releases.models import DeploymentLost, Release
from releases.rules import ReleaseStatus, filter_migrations
from slots.runtime import disk_usage
from slots.runtime.disk_usage import DiskWatch

# How long a process waits for another one's build of the same commit.
LOCK_SECONDS = 1800.0
# With less free space, a failed build is reported as DISK_FULL: npm and pip hide ENOSPC.
FULL_BYTES = 256 * 1024


class BuildFailed(Exception):
    """The commit cannot be built; `code` is a failure code of `runs.rules`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class BuildContext:
    """What the steps of one build share; `job` marks their processes."""

    config: Config
    release: Release
    log: Path
    stop: Callable[[], bool]
    job: str

    @property
    def root(self) -> Path:
        return source_folder(self.config, self.release.pk)

    @property
    def user(self) -> User | None:
        """The user of installs and builds, who owns the files meanwhile."""
        return self.config.precheck_user if self.release.is_temporary else self.config.job_user

    def write_log(self, text: str) -> None:
        text = read_masks(self.config).mask(text)
        with self.log.open("a") as file:
            file.write(f"{text}\n")


def build_release(
    config: Config,
    repository: Repository,
    commit: str,
    run_id: uuid.UUID | None,
    *,
    log: Path,
    stop: Callable[[], bool] | None = None,
    job: str = "",
    title: str = "",
    is_temporary: bool = False,
) -> Release:
    """Build `commit` for production, or return the build that this run already made of it.

    `title` is for people. `is_temporary`: for a precheck, whose id is `run_id`; such a release is
    never deployed. After a crash a second call starts over if the build is incomplete. Raises
    BuildFailed, Refused, and DeploymentLost if `stop` returned true.
    """
    with _lock_build(config, f"{run_id or 'shell'}-{commit}"):
        release = _find_build(config, commit, run_id)
        if release is not None and release.built_at is not None:
            return release
        if release is None:
            tree = repository.get_tree_id(commit)
            release = Release.objects.start_build(
                commit,
                tree=tree,
                run_id=run_id,
                title=title,
                is_temporary=is_temporary,
            )
        context = BuildContext(config, release, log, stop or (lambda: False), job)
        try:
            checksum = _write_build(context, repository)
        except (BuildFailed, Refused, OSError) as error:
            failed = _classify_failure(context, error)
            # Before the row: while it says `building`, another attempt starts over.
            ownership.delete_tree(build_folder(config, release.pk))
            release.fail(failed.detail)
            raise failed from error
        release.finish_build(checksum=checksum, migrations=_find_new_migrations(repository, commit))
        return release


def delete_temporary_builds(config: Config, precheck_id: uuid.UUID) -> None:
    """Delete what a precheck built: files, link and rows. May be repeated."""
    for release in Release.objects.filter(run_id=precheck_id, is_temporary=True):
        ownership.delete_tree(build_folder(config, release.pk))
        build_folders.storage_link(config, release.pk).unlink(missing_ok=True)
        release.delete()


def _find_build(config: Config, commit: str, run_id: uuid.UUID | None) -> Release | None:
    """Return the run's release of that commit, unless its build failed or was removed."""
    rows = Release.objects.filter(commit_sha=commit, run_id=run_id, removed_at=None)
    built = rows.exclude(built_at=None).first()
    # The row may have outlived its files, as after a restored backup.
    if built is not None and build_manifest.read_manifest(build_folder(config, built.pk)):
        return built
    return rows.filter(status=ReleaseStatus.BUILDING).first()


def _write_build(context: BuildContext, repository: Repository) -> str:
    """Create the build's folder and return its manifest's checksum. Raises BuildFailed."""
    config, release = context.config, context.release
    folder = build_folder(config, release.pk)
    ownership.delete_tree(folder)  # an interrupted build may have left files
    folder.mkdir(parents=True, mode=0o755)
    for note in repository.export_commit(release.commit_sha, context.root):
        context.write_log(note)
    ownership.give_tree(context.root, context.user)
    app = read_application(config, context.root, context.user)
    for note in app.notes:
        context.write_log(f"note: {note}")
    _prepare_storage(context, app, repository)
    _install_and_build(context, app)
    _link_storage(context, app)
    fallback = _publish(context, app, folder)
    launch_spec = LaunchSpec.from_plan(app.plan, app.manifest, app.bins, fallback)
    fields = {**_describe_release(release), "notes": app.notes, **launch_spec.as_dict()}
    return build_manifest.finalize_build(folder, fields)


def _classify_failure(context: BuildContext, error: BuildFailed | Refused | OSError) -> BuildFailed:
    """Return the failure with the code of its cause; re-raise an OSError other than a full disk."""
    if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    detail = str(error)
    # The folder of all releases, because that of this build may not exist yet.
    if isinstance(error, OSError) or shutil.disk_usage(context.root.parents[1]).free < FULL_BYTES:
        return BuildFailed("DISK_FULL", f"The disk is full. {detail}")
    if isinstance(error, BuildFailed):
        return error
    if isinstance(error, ApplicationRefused):
        return BuildFailed(error.failure_code, detail)
    return BuildFailed("BUILD_FAILED", detail)


def _prepare_storage(context: BuildContext, app: Application, repository: Repository) -> None:
    """Make the folders of the storage, which are empty while the application is built."""
    folders = app.manifest.storage
    if folders:
        storage.require_untracked(folders, repository.list_files(context.release.commit_sha))
    storage.make_folders(context.root, folders, app.user)


def _link_storage(context: BuildContext, app: Application) -> None:
    """Have the tree lead to the storage of the instance that runs the release."""
    target = build_folders.storage_link(context.config, context.release.pk)
    for note in storage.link_folders(context.root, app.manifest.storage, target, app.user):
        context.write_log(f"note: {note}")


def _install_and_build(context: BuildContext, app: Application) -> None:
    """Run installs and builds, without the values of app.env."""
    subject = f"The build of {context.release.commit_sha[:12]}"
    stop = DiskWatch(context.config, subject, disk_usage.list_places(app), context.stop)
    try:
        app.install(log=context.log, stop=stop)
        app.run_builds(
            _variables(context),
            purpose="build",
            log=context.log,
            stop=stop,
            job=context.job,
        )
    except CommandFailed as failed:
        if stop.excess:
            raise BuildFailed("DISK_FULL", stop.excess) from failed
        # Stopped from outside: it says nothing about the commit.
        if failed.was_stopped:
            raise DeploymentLost from failed
        code = "STEP_TIMEOUT" if failed.timed_out else "BUILD_FAILED"
        message = log_message.read_message(context.log, failed.log_start)
        parts = [f"{failed}:", message, explain_network_failure_of(context.log, failed.log_start)]
        raise BuildFailed(code, "\n".join(part for part in parts if part)) from failed


def _variables(context: BuildContext) -> dict[str, str]:
    """Return those of production, with the first colour's port: a build has no colour yet."""
    config, release = context.config, context.release
    return environment.build_production_variables(
        config,
        port=config.colour_ports[0],
        database_url="",
        release_id=release.pk,
        commit=release.commit_sha,
    )


def _publish(context: BuildContext, app: Application, folder: Path) -> Fallback:
    """Copy the frontend's output to `public`, which the surface serves: files only, no links.

    Returns what the surface answers for a path that is none of the files.
    """
    if app.manifest.public_dir is None:
        return Fallback.BACKEND
    relative = Path(app.manifest.public_dir)
    fallback = site_fallback.find_fallback(
        context.root, relative, app.manifest.frontend_spa, has_backend=app.plan.web is not None
    )
    for name in public_folder.copy_public_folder(context.root, relative, folder / "public"):
        context.write_log(f"{name} is not served: it is a hidden or no regular file.")
    return fallback


def _describe_release(release: Release) -> dict[str, Any]:
    return {
        "release_id": release.pk,
        "commit": release.commit_sha,
        "tree": release.tree_sha,
        "run": str(release.run_id) if release.run_id else None,
        "began_at": release.created_at.isoformat(timespec="seconds"),
    }


def _find_new_migrations(repository: Repository, commit: str) -> list[str]:
    """Return the commit's migrations that the live release has not; all if none is live."""
    live = Release.objects.live()
    if live is not None and repository.has_commit(live.commit_sha):
        return filter_migrations(repository.list_changed_files(live.commit_sha, commit))
    return filter_migrations(repository.list_files(commit))


@contextmanager
def _lock_build(config: Config, name: str) -> Iterator[None]:
    """Let one process at a time build a run's commit. Raises Refused `build_busy`."""
    path = config.var / "releases" / f".{name}.lock"
    refusal = Refused("build_busy", "Another build of this commit is under way.")
    with file_lock(path, seconds=LOCK_SECONDS, refusal=refusal):
        yield
