"""Builds a commit for production: laid out, installed, built, then sealed for good."""

import errno
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.clock import ClockTimestamp
from host.app import environment, installs, manifest, planning
from host.app.manifest import Manifest
from host.app.planning import Plan
from host.config import Config
from host.errors import Refused
from host.files import file_lock, ownership, publish, safe_files
from host.git.bare_repository import Repository
from host.process import runner
from host.process.runner import Outcome
from releases.builds import build_manifest
from releases.models import ActivationLost, Release
from releases.production import app
from releases.production.app import Recipe
from releases.rules import ReleaseStatus, migrations_among

# What a build is given beside the application's own values; app.env is for what runs.
BUILD_FILE = "build.env"
LOCK_SECONDS = 1800.0
FULL_BYTES = 256 * 1024


class BuildFailed(Exception):
    """The commit cannot be built; `code` is one of runs' failure codes."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True)
class Work:
    """What the steps of one build share."""

    config: Config
    release: Release
    log: Path
    stop: Callable[[], bool]
    job: str

    @property
    def root(self) -> Path:
        return app.tree(self.config, self.release.pk)

    def checked(self, outcome: Outcome, what: str) -> None:
        """Raise what a bad end means: BuildFailed, or ActivationLost if we are to stop."""
        if outcome.stopped:
            raise ActivationLost
        if outcome.exit_code != 0:
            how = "took too long" if outcome.timed_out else f"ended with {outcome.exit_code}"
            code = "STEP_TIMEOUT" if outcome.timed_out else "BUILD_FAILED"
            raise BuildFailed(code, f"{what} {how}.\n{safe_files.read_tail(self.log, 10)}")


def build(
    config: Config,
    repository: Repository,
    commit: str,
    run_id: uuid.UUID | None,
    *,
    log: Path,
    stop: Callable[[], bool] | None = None,
    job: str = "",
) -> Release:
    """Build `commit` for production, or return the build that this run has of it already.

    A second call after a crash begins anew what was not whole. `job` marks the processes. Raises
    BuildFailed, Refused, ActivationLost if `stop` said so.
    """
    with _locked(config, f"{run_id or 'shell'}-{commit}"):
        release = _found(config, commit, run_id)
        if release is not None and release.built_at is not None:
            return release
        if release is None:
            tree = repository.tree(commit)
            release = Release.objects.start(commit, tree=tree, run_id=run_id)
        work = Work(config, release, log, stop or (lambda: False), job)
        try:
            checksum = _make(work, repository)
        except (BuildFailed, Refused, OSError) as error:
            failed = _known(work, error)
            ownership.delete(app.folder(config, release.pk))
            release.move(ReleaseStatus.FAILED, detail=failed.detail)
            raise failed from error
        release.move(
            ReleaseStatus.BUILT,
            checksum=checksum,
            migrations=_new_migrations(repository, commit),
            built_at=ClockTimestamp(),
        )
        return release


def _found(config: Config, commit: str, run_id: uuid.UUID | None) -> Release | None:
    """Return the run's release of that commit, but for one whose build failed or is gone."""
    rows = Release.objects.filter(commit_sha=commit, run_id=run_id, removed_at=None)
    built = rows.exclude(built_at=None).first()
    if built is not None and build_manifest.facts(app.folder(config, built.pk)) is not None:
        return built
    return rows.filter(status=ReleaseStatus.BUILDING).first()


def _make(work: Work, repository: Repository) -> str:
    """Make the build's folder from nothing; returns its checksum. Raises BuildFailed."""
    config, release = work.config, work.release
    folder = app.folder(config, release.pk)
    ownership.delete(folder)  # what an interrupted build left
    folder.mkdir(parents=True, mode=0o755)
    for note in repository.lay_out(release.commit_sha, work.root):
        with work.log.open("a") as file:
            file.write(f"{note}\n")
    ownership.give(work.root, config.job_user)
    says = manifest.load(work.root)
    plan = planning.plan(work.root, says, installs.tools(config))
    _install(work, plan)
    _build(work, plan, says)
    _publish(work, says, folder)
    recipe = Recipe.of(plan, says, plan.bins(config, work.root))
    return build_manifest.close(folder, {**_facts(release), **recipe.facts()})


def _known(work: Work, error: BuildFailed | Refused | OSError) -> BuildFailed:
    """Return the failure with the code that names its cause; a full disk is the cause of many."""
    if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    detail = str(error)
    if isinstance(error, OSError) or shutil.disk_usage(work.root.parents[1]).free < FULL_BYTES:
        return BuildFailed("DISK_FULL", f"There is no room left for the build. {detail}")
    if isinstance(error, BuildFailed):
        return error
    is_known = error.code in ("manifest_invalid", "command_refused")
    return BuildFailed(error.code.upper() if is_known else "BUILD_FAILED", detail)


def _install(work: Work, plan: Plan) -> None:
    config = work.config
    outcome = installs.make_all(
        config, plan, work.root, user=config.job_user, log=work.log, stop=work.stop
    )
    work.checked(outcome, "Installing the dependencies")


def _build(work: Work, plan: Plan, says: Manifest) -> None:
    """Run the build commands as the jobs' user; no value of app.env reaches them."""
    config, root = work.config, work.root
    bins = plan.bins(config, root)
    with installs.private_folder(config, config.job_user) as home:
        resolved = environment.build(
            config, {}, says, home=home, bins=bins, file=BUILD_FILE, purpose="build"
        )
        env = resolved.env | {"OROBOROS_COMMIT": work.release.commit_sha}
        for command in plan.builds:
            outcome = runner.run(
                planning.ready(command, config, root=root, bins=bins, env=env),
                cwd=root / command.cwd,
                log=work.log,
                timeout=command.timeout,
                env=env | ({runner.MARK: work.job} if work.job else {}),
                user=config.job_user,
                stop=work.stop,
            )
            work.checked(outcome, f"{command.name} ({' '.join(command.argv)})")


def _publish(work: Work, says: Manifest, folder: Path) -> None:
    """Copy the frontend's output to where the surface finds it: files only, no links."""
    if says.public is None:
        return
    for name in publish.copy_public(work.root, Path(says.public), folder / "public"):
        with work.log.open("a") as file:
            file.write(f"{name} is no regular file and is not served.\n")


def _facts(release: Release) -> dict[str, Any]:
    return {
        "release_id": release.pk,
        "commit": release.commit_sha,
        "tree": release.tree_sha,
        "run": str(release.run_id) if release.run_id else None,
        "began_at": release.created_at.isoformat(timespec="seconds"),
    }


def _new_migrations(repository: Repository, commit: str) -> list[str]:
    """Return the commit's migrations that are not in what is live; all of them the first time."""
    live = Release.objects.live()
    if live is not None and repository.has(live.commit_sha):
        return migrations_among(repository.changed_files(live.commit_sha, commit))
    return migrations_among(repository.files(commit))


@contextmanager
def _locked(config: Config, name: str) -> Iterator[None]:
    """One build of a run's commit at a time."""
    with file_lock.held(config.var / "releases" / f".{name}.lock", seconds=LOCK_SECONDS) as is_ours:
        if not is_ours:
            raise Refused("build_busy", "Another build of it is under way.")
        yield
