"""What both pipelines do with an application: write its files, install, migrate, check, build.

The application's commands run as its user, in an environment built from an empty one, and their
output is appended to the step's log.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from host.app.application import Application, read_application
from host.app.command_runner import CommandFailed
from host.app.dependencies.network_failures import explain_network_failure_of
from host.app.environment import ResolvedEnvironment
from host.app.planning import Command
from host.app.resources import addons, storage
from host.files import ownership, site_fallback
from host.files.public_folder import list_files_with_header, open_public_folder
from host.files.site_fallback import Fallback
from host.files.write_refusals import (
    explain_refused_package_write,
    explain_refused_write,
    is_refused_sqlite_file,
)
from host.git.bare_repository import Repository
from host.git.checkout_notes import LFS_BYTES, LFS_HEADER, name_files
from host.postgres import guard, lock_timeout
from host.postgres.extension_refusals import explain_refused_extension
from host.postgres.guard import Target
from host.process.users import User
from host.services.redis_server import JOBS, RedisServer
from runs.engine.step_context import CommandContext, StepContext
from runs.engine.step_errors import StepFailed
from runs.models import Run
from slots.runtime import disk_usage
from slots.runtime.disk_usage import DiskWatch

NO_INDEX_PAGE = (
    "The build's output {folder} has no index.html: the backend answers every path that is no file "
    "of it."
)
COVERED = (
    "Not served of the frontend's output: {names}. /api and what is below it are the backend's, "
    "also without one, and /health, /healthz and /readyz are the health check of the web port."
)


def write_application(
    context: CommandContext,
    repo: Repository,
    commit: str,
    root: Path,
    user: User | None,
    *,
    has_development: bool = False,
) -> Application:
    """Replace `root` by the commit's files, give them to `user`, and read the application.

    Its storage are empty folders of the tree. `has_development`: as `read_application`.
    """
    ownership.delete_tree(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    for note in repo.export_commit(commit, root):
        context.write_log(note)
    ownership.give_tree(root, user)
    app = read_application(context.config, root, user, has_development=has_development)
    storage.make_folders(root, app.manifest.storage, user)
    return app


def refuse_served_pointers(app: Application, repo: Repository, run: Run) -> None:
    """Raise StepFailed BUILD_FAILED if files that are served as committed are pointers of Git LFS.

    A build may leave them out, so an application with a build passes: see `check_output`, which
    looks at what is served in any case. This is the refusal before a long install.
    """
    folder = app.manifest.public_dir
    if folder is None or app.plan.builds:
        return
    pointers = repo.find_left_out(run.commit_sha).pointers
    _refuse_pointers([path for path in pointers if PurePosixPath(path).is_relative_to(folder)])


def _refuse_pointers(paths: Sequence[str]) -> None:
    if paths:
        raise StepFailed(
            "BUILD_FAILED",
            "Git LFS is not supported: browsers would get the pointers that git has in place of "
            f"{name_files(paths)}.",
            next_action="Take these files out of Git LFS (git lfs migrate export "
            "--include='<pattern>'), push, and retry the run.",
        )


@contextmanager
def _translate_failures(context: CommandContext, app: Application, code: str) -> Iterator[None]:
    """Turn a failed command into StepStopped, StepFailed STEP_TIMEOUT or StepFailed `code`."""
    context.raise_if_stopping()
    try:
        yield
    except CommandFailed as failed:
        # A command that was stopped fails as well, which says nothing about the branch.
        context.raise_if_stopping()
        if failed.timed_out:
            raise StepFailed("STEP_TIMEOUT", f"{failed}.") from failed
        message = context.read_log_message(failed.log_start)
        parts = [f"{failed}:", message]
        if code == "BUILD_FAILED":
            parts.append(explain_network_failure_of(context.log, failed.log_start))
            parts.append(explain_refused_package_write(message))
        if code == "MIGRATION_FAILED":
            parts += [explain_refused_write(message, app.root), explain_refused_extension(message)]
        raise StepFailed(code, "\n".join(part for part in parts if part)) from failed
    context.raise_if_stopping()


def install_application(context: CommandContext, app: Application) -> None:
    """Make the missing installs.

    Raises StepStopped, StepFailed BUILD_FAILED, DISK_FULL, STEP_TIMEOUT.
    """
    stop = _watch(context, app, "install")
    with _translate_failures(context, app, "BUILD_FAILED"), _translate_excess(stop):
        app.install(log=context.log, stop=stop)


def find_install_files_of_base(app: Application, repo: Repository, base: str, commit: str) -> str:
    """Return the names of the files that decide the installs, if `base` has the same; else "".

    Then the base does not install either, whatever else the commit changes. An install that is not
    shared may read every file of the tree: then nothing is known about the base.
    """
    installs = app.plan.installs
    files = [str(PurePosixPath(each.directory, name)) for each in installs for name in each.files]
    is_same = all(repo.read_file(base, name) == repo.read_file(commit, name) for name in files)
    return ", ".join(files) if is_same and all(each.shared for each in installs) else ""


def build_application(
    context: CommandContext, app: Application, variables: Mapping[str, str], *, purpose: str
) -> None:
    """Run the application's builds. Raises as `install_application`."""
    stop = _watch(context, app, purpose)
    with _translate_failures(context, app, "BUILD_FAILED"), _translate_excess(stop):
        app.run_builds(variables, purpose=purpose, log=context.log, stop=stop, job=context.job)


def _watch(context: CommandContext, app: Application, purpose: str) -> DiskWatch:
    """Return what ends a command: a request to stop, or too much disk space."""
    config = context.config
    slot = next((one for one in config.slots if one.slot_id == purpose), None)
    if slot is not None:
        subject, places = slot.slot_id, disk_usage.list_slot_places(config, slot)
    else:
        subject, places = f"The step ({purpose})", disk_usage.list_places(app)
    return DiskWatch(config, subject, places, context.is_stopping)


@contextmanager
def _translate_excess(stop: DiskWatch) -> Iterator[None]:
    """Turn a command that was ended because of the disk quota into StepFailed DISK_FULL."""
    try:
        yield
    except CommandFailed as failed:
        if stop.excess:
            raise StepFailed("DISK_FULL", stop.excess) from failed
        raise


def check_output(app: Application) -> list[str]:
    """Return notes on the frontend's output, which the build has made.

    Raises Refused `build_failed` if there is nothing that can be served, and StepFailed
    BUILD_FAILED for pointers of Git LFS in it.
    """
    folder, has_backend = app.manifest.public_dir, app.plan.web is not None
    if folder is None:
        return []
    with open_public_folder(app.root, Path(folder)) as output:
        _refuse_pointers([*list_files_with_header(output, LFS_HEADER, LFS_BYTES)])
        covered = site_fallback.list_covered(output)
    fallback = site_fallback.find_fallback(
        app.root, Path(folder), app.manifest.frontend_spa, has_backend=has_backend
    )
    return [
        *([COVERED.format(names=", ".join(covered))] if covered else []),
        *([NO_INDEX_PAGE.format(folder=folder)] if fallback == Fallback.BACKEND else []),
    ]


def describe_left_out(paths: Sequence[str]) -> list[str]:
    """Return a note on the paths of the frontend's output that are not served; [] if all are."""
    if not paths:
        return []
    return [
        f"Not served of the frontend's output: {name_files(paths)}. Links, and names that begin "
        "with a dot, are left out; .well-known/ is served."
    ]


def save_environment(context: StepContext, resolved: ResolvedEnvironment) -> None:
    """Store the variables of the application's processes, secrets masked, as an artifact."""
    # One line for each variable: the run's page splits the artifact at line feeds.
    masked = [
        {**variable, "value": variable["value"].replace("\n", "\\n")}
        for variable in resolved.mask_secrets()
    ]
    lines = [
        f"{variable['name']}={variable['value']}  # {variable['origin']}" for variable in masked
    ]
    context.save_artifact("environment", "\n".join([*lines, *resolved.notes]))


def run_commands(
    context: CommandContext,
    app: Application,
    commands: Sequence[Command],
    variables: Mapping[str, str],
    *,
    purpose: str,
    code: str,
) -> None:
    """Run the commands in order. Raises StepFailed `code`, STEP_TIMEOUT at the first that fails.

    A command whose folder or program is missing fails too: a check may be another commit's.
    """
    for command in commands:
        with _translate_failures(context, app, code):
            _run_command(context, app, command, variables, purpose)


def _run_command(
    context: CommandContext,
    app: Application,
    command: Command,
    variables: Mapping[str, str],
    purpose: str,
) -> None:
    stop = _watch(context, app, purpose)
    with _translate_excess(stop):
        app.run(command, variables, purpose=purpose, log=context.log, stop=stop, job=context.job)


def run_release_command(
    context: CommandContext, app: Application, variables: Mapping[str, str], *, purpose: str
) -> None:
    """Run the application's `release:`, again if it waits too long for a lock.

    Raises StepFailed MIGRATION_FAILED, STEP_TIMEOUT.
    """
    from host.postgres.administration import DatabaseAdmin

    command, role, name = app.plan.release, variables["PGUSER"], variables["PGDATABASE"]
    if command is None:
        return
    seconds = lock_timeout.read_lock_timeout(context.config)
    url = guard.strip_driver(variables["DATABASE_URL"])
    with (
        _translate_failures(context, app, "MIGRATION_FAILED"),
        DatabaseAdmin(context.config).limit_lock_waits(name, role, seconds),
    ):
        lock_timeout.run_with_retries(
            lambda: _run_command(context, app, command, variables, purpose),
            context.log,
            context.report,
            context.is_stopping,
            lambda: lock_timeout.describe_lock_holders(url),
        )


def seal(app: Application) -> None:
    """Make the application's files read-only, as production's are, but for its storage.

    No process of the application may run.
    """
    ownership.take_back(app.root)
    storage.reopen_folders(app.root, app.manifest.storage, app.user)


def run_sealed_release_command(
    context: CommandContext, app: Application, variables: Mapping[str, str], *, purpose: str
) -> bool:
    """Run `release:` in a sealed tree, once more if SQLite could not write its file there.

    Then the tree is open to new files. Django's `startproject` keeps that file beside the code, and
    such a branch can be looked at, although it cannot ship. Returns whether it was so. Raises as
    `run_release_command`.
    """
    try:
        run_release_command(context, app, variables, purpose=purpose)
        return False
    except StepFailed as failed:
        if not is_refused_sqlite_file(failed.detail):
            raise
    context.write_log("SQLite could not write its file: again with a tree open to new files")
    ownership.allow_new_files(app.root, app.user)
    run_release_command(context, app, variables, purpose=purpose)
    return True


def build_redis_variables(context: CommandContext, app: Application) -> dict[str, str]:
    """Return the variables of the Redis server of commands that run for no slot, if one is wanted.

    It is started if it does not run. Raises Refused as `RedisServer.ensure`.
    """
    url = RedisServer(context.config, JOBS).ensure() if app.manifest.redis else ""
    return addons.build_redis_variables(url)


def empty_redis(context: CommandContext, app: Application) -> None:
    """Delete what earlier commands left in that server."""
    if app.manifest.redis:
        RedisServer(context.config, JOBS).empty()


def database_url(target: Target, name: str, role: str, password: str) -> str:
    """Return the URL of the database `name` on the server of `target`."""
    return guard.application_url(
        Target(target.scheme, target.host, target.port, name), role, password
    )
