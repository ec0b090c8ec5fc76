"""The steps from `preparing` to `preview_ready`: a slot is made to show a branch.

The probe of each step looks at the host. If that does not show the effect (a migration that ran, a
build that ended), the step leaves a note that names the run, the generation and the fence.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps

from host.app import planning
from host.app.application import Application
from host.app.inspection import empty_installs
from host.app.planning import Command
from host.app.resources import storage
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.files.write_refusals import SQLITE_NOTE, explain_refused_write
from host.postgres import guard, schema_catalog, schema_snapshot
from host.process import private_tmp
from host.services.redis_server import RedisServer
from host.units.unit import start_again_if_killed
from runs.engine.step_context import PipelineStep, StepContext, StepResult
from runs.engine.step_errors import StepFailed
from runs.pipelines import (
    app_commands,
    merge_forecast,
    preview_answer,
    schema_changes,
    template_databases,
)
from runs.pipelines.preview_slot import (
    build_live_routes,
    build_process_specs,
    build_server_addresses,
    create_extensions,
    get_slot,
    link_storage,
    note_application,
    read_effect,
    read_slot_application,
    record_effect,
    slot_variables,
    start_redis,
)
from runs.pipelines.target_branch import trials
from runs.repository import find_preview_base, open_repository
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState
from slots.runtime import backend, backend_log, surface, worktree


def show_progress(act: Callable[[StepContext], None]) -> Callable[[StepContext], None]:
    """Have a step's `act` first show the progress of the preparation on the slot's page."""

    @wraps(act)
    def act_with_progress(context: StepContext) -> None:
        names = [step.name for step in STEPS]
        current = names.index(context.step.name)
        progress = [
            (name, "done" if number < current else "running" if number == current else "waiting")
            for number, name in enumerate(names)
        ]
        config, slot, run = context.config, get_slot(context), context.run
        surface.show_preparing(config, slot, run.pk, run.commit_sha, progress, label=run.label)
        act(context)

    return act_with_progress


# -- the steps ------------------------------------------------------------------------------------


def probe_lease(context: StepContext) -> StepResult:
    """Return the lease, which was granted before the run was enqueued, for the timeline."""
    lease = Lease.objects.filter(run=context.run, state=LeaseState.HELD).select_related("slot")
    held = lease.first()
    if held is None or held.slot is None:
        raise StepFailed("RELEASED", "The run no longer holds a slot.")
    seconds = (held.granted_at - held.requested_at).total_seconds() if held.granted_at else 0
    return {"slot_id": held.slot.slot_id, "fence": held.fence, "waited_seconds": seconds}


def skip_action(context: StepContext) -> None:
    """Do nothing: the probe finds the effect or raises StepFailed."""


@show_progress
def write_worktree(context: StepContext) -> None:
    """Fetch the commit if it is missing, and write its files to the slot's worktree."""
    config, slot, run = context.config, get_slot(context), context.run
    repo = open_repository(config)
    # The request for the run has usually fetched it.
    if not repo.has_commit(run.commit_sha):
        repo.fetch(config.git_remote_url)
    # If the run has a new commit, the backend of the previous one still uses the worktree.
    backend.replace_with_idle_page(config, slot)
    notes = worktree.check_out(config, slot, repo, run.commit_sha, config.slot_user(slot))
    context.write_log("\n".join([f"wrote the files of {run.commit_sha}", *notes]))
    merge_forecast.set_commit_notes(context, repo, notes)
    context.set_notes(describe_isolation(config), topic="isolation")
    record_effect(context)


def describe_isolation(config: Config) -> list[str]:
    """Return a note if the kernel denies applications' programs a /tmp of their own; else []."""
    if not config.is_root or config.is_systemd or private_tmp.is_allowed(config.private_folders):
        return []
    return [
        "The kernel refuses mounts here, so the application's programs share /tmp, /var/tmp and "
        "/dev/shm with the other previews and with production: ./scripts/doctor.sh says what to do."
    ]


def probe_worktree(context: StepContext) -> StepResult:
    slot = get_slot(context)
    is_written = worktree.read_commit(slot) == context.run.commit_sha
    return {"commit": context.run.commit_sha} if is_written and read_effect(context) else None


@show_progress
def install(context: StepContext) -> None:
    """Install what the application needs. An install of the same lock file is shared."""
    app = read_slot_application(context)
    app_commands.refuse_served_pointers(app, open_repository(context.config), context.run)
    try:
        app_commands.install_application(context, app)
    except StepFailed as failed:
        if failed.code != "BUILD_FAILED":
            raise
        _raise_if_base_is_the_cause(context, app, failed)
        raise
    context.set_notes(empty_installs.describe_empty_installs(app), topic="packages")


def _raise_if_base_is_the_cause(context: StepContext, app: Application, failed: StepFailed) -> None:
    """Raise StepFailed MAIN_BROKEN if the target branch does not install either."""
    config, repo = context.config, open_repository(context.config)
    base = find_preview_base(repo, config.target_branch)
    names = app_commands.find_install_files_of_base(app, repo, base, context.run.commit_sha)
    if names:
        context.save_artifact(template_databases.MAIN_LOG, context.read_log_tail(1000))
        detail = (
            f"{config.target_branch} itself ({base[:12]}) does not install: {names} is the same"
        )
        raise StepFailed("MAIN_BROKEN", f"{detail} there. {failed.detail}") from failed
    target = guard.resolve_target(config, get_slot(context))
    template_databases.raise_if_base_does_not_install(context, repo, base, target, failed)


def probe_install(context: StepContext) -> StepResult:
    app = read_slot_application(context)
    keys = [install.key[:12] for install in app.plan.installs]
    return {"installs": keys} if app.is_installed else None


def connect_to_database_server(context: StepContext) -> AbstractContextManager[object]:
    """Connect to the database server once for the step and its probes."""
    from host.postgres.administration import DatabaseAdmin

    return DatabaseAdmin(context.config).connection()


@show_progress
def create_database(context: StepContext) -> None:
    """Clone the target branch's template database for the slot, with a new password."""
    from host.postgres.administration import DatabaseAdmin

    config, slot = context.config, get_slot(context)
    repo = open_repository(config)
    target = guard.resolve_target(config, slot)
    base = find_preview_base(repo, config.target_branch)
    admin = DatabaseAdmin(config)
    # Before any DDL: the URL template may lead to another server.
    admin.check_server(target)
    template = template_databases.ensure_run_template(
        context, repo, base, context.run.commit_sha, target
    )
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    create_extensions(context)
    # Only now: the slot's role may connect to its own database and to no other.
    admin.check_target(target, slot.database, password)
    url = guard.application_url(target, slot.database, password)
    context.write_log(f"{slot.database} is a clone of {template}")
    record_effect(context, url=url, template=template, redis=start_redis(context))


def probe_database(context: StepContext) -> StepResult:
    from host.postgres.administration import DatabaseAdmin

    slot, note = get_slot(context), read_effect(context)
    if note is None or not DatabaseAdmin(context.config).is_ready(slot.database, slot.database):
        return None
    return {"database": slot.database, "template": note["template"]}


@show_progress
def build(context: StepContext) -> None:
    """Run the application's builds in the worktree."""
    app = read_slot_application(context)
    purpose = get_slot(context).slot_id
    storage.make_folders(app.root, app.manifest.storage, app.user)
    trials.build_run(context, app, slot_variables(context), purpose=purpose)
    # Here, and not after the backend was started.
    context.set_notes(app_commands.check_output(app))
    record_effect(context)


def probe_build(context: StepContext) -> StepResult:
    return {} if read_effect(context) else None


@show_progress
def migrate(context: StepContext) -> None:
    """Run the branch's `release:` in the sealed tree, as production does after the build.

    The schema before it is saved for the run's page.
    """
    app = read_slot_application(context)
    # Only now: install and build write there.
    link_storage(context, app)
    worktree.seal(get_slot(context))
    if context.attempt > 1:
        # A migration tool may leave a database half migrated if it is killed.
        context.write_log("an earlier attempt was interrupted: the database is cloned again")
        recreate_database(context)
    variables, template = slot_variables(context), context.results["database"]["template"]
    # A clone has its template's schema, which was recorded when that was built.
    before = template_databases.read_template_schema(context.config, template)
    context.save_artifact(schema_changes.BEFORE, before or read_schema_text(variables))
    slot = get_slot(context)
    has_sqlite_file = app_commands.run_sealed_release_command(
        context, app, variables, purpose=slot.slot_id
    )
    if has_sqlite_file:
        worktree.seal(slot)
    context.set_notes([SQLITE_NOTE] if has_sqlite_file else [])
    record_effect(context)


def read_schema_text(variables: dict[str, str]) -> str:
    """Return the snapshot of the schema of the preview's database, as JSON."""
    url = guard.strip_driver(variables["DATABASE_URL"])
    return schema_snapshot.to_json(schema_catalog.read_schema(url))


def recreate_database(context: StepContext) -> None:
    """Clone the database again from the same template, and empty Redis. The passwords stay."""
    from host.postgres.administration import DatabaseAdmin

    slot = get_slot(context)
    template = context.results["database"]["template"]
    DatabaseAdmin(context.config).clone(template, slot.database, slot.database)
    create_extensions(context)
    if "REDIS_URL" in slot_variables(context):
        RedisServer(context.config, slot.slot_id).empty()


def probe_migrations(context: StepContext) -> StepResult:
    return {} if read_effect(context) else None


@show_progress
def start_backend(context: StepContext) -> None:
    """Save the schema after the migrations, then start the backend if there is one."""
    # First, so that the run's page shows the schema changes of a backend that does not start too.
    context.save_artifact(schema_changes.AFTER, read_schema_text(slot_variables(context)))
    app = read_slot_application(context)
    _start_application(context, app)
    context.set_notes(backend.describe_exposure(context.config, get_slot(context)))
    record_effect(context)


def _start_application(context: StepContext, app: Application) -> None:
    config, slot, run = context.config, get_slot(context), context.run
    home = slot.folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    ownership.give_tree(home, app.user)
    variables = {**slot_variables(context), **build_server_addresses(app, slot)}
    resolved = app.build_environment(variables, home=home, purpose=slot.slot_id)
    app_commands.save_environment(context, resolved)
    if app.plan.web is None:
        context.write_log("the application has no backend")
        return

    def prepare_argv(command: Command, port: int = slot.backend_port) -> tuple[str, ...]:
        env = {**resolved.env, "PORT": str(port)}
        words = planning.prepare_argv(command, config, root=app.root, bins=app.bins, env=env)
        return tuple(words)

    spec = backend.Spec(
        run_id=str(run.pk),
        commit=run.commit_sha,
        fence=context.results["lease"]["fence"],
        argv=prepare_argv(app.plan.web),
        cwd=app.root / app.plan.web.cwd,
        health_path=app.manifest.health_path,
        host=config.frontend_address(slot, run.label),
        is_health_guess=app.manifest.is_health_guess,
        is_https=config.is_https,
        release=prepare_argv(app.plan.release) if app.plan.release else None,
        template=context.results["database"]["template"],
        processes=build_process_specs(app, slot, prepare_argv),
        extensions=app.manifest.extensions,
    )
    backend.write_spec(config, slot, spec, resolved.env)
    # Before the start, so that the step's log grows while the backend starts.
    context.link_log(backend_log.path(config, slot))
    surface.wait_until_port_is_quiet(slot, has_servers=bool(spec.servers))
    start = partial(backend.restart, config, slot, stop=context.is_stopping)
    try:
        start_again_if_killed(start, context.write_log)
    except Refused as refused:
        context.raise_if_stopping()
        if refused.code == "process_died":
            raise
        reason = explain_refused_write(context.read_log_tail(50), app.root)
        raise StepFailed("BACKEND_UNHEALTHY", f"{reason}\n{refused.detail}".strip()) from refused


def probe_backend(context: StepContext) -> StepResult:
    config, slot = context.config, get_slot(context)
    # Without the note it may be the backend of the commit before, which is healthy too.
    if read_effect(context) is None:
        return None
    status = backend.status(config, slot)
    if status.spec.is_idle:
        return {"backend": None} if read_slot_application(context).plan.web is None else None
    if not status.matches_spec:
        return None
    return {"port": slot.backend_port, "processes": [one.name for one in status.all_processes]}


def show_preview(context: StepContext) -> None:
    """Switch the slot's surface to the preview."""
    config, slot, run = context.config, get_slot(context), context.run
    app = read_slot_application(context)
    health_path = app.manifest.health_path if app.plan.web is not None else None
    left_out = surface.show_live(
        config,
        slot,
        run.pk,
        run.commit_sha,
        app.public,
        health_path,
        is_single_page=app.manifest.frontend_spa,
        label=run.label,
        is_health_guess=app.manifest.is_health_guess,
        routes=build_live_routes(app, slot),
    )
    context.write_log("\n".join([f"{run.label} shows {run.commit_sha}", *left_out]))
    context.set_notes(app_commands.describe_left_out(left_out))


def probe_surface(context: StepContext) -> StepResult:
    state, run = surface.read_state(get_slot(context)), context.run
    if state is None or (state.run_id, state.commit, state.mode) != (
        str(run.pk),
        run.commit_sha,
        "live",
    ):
        return None
    return {"url": context.config.frontend_url(get_slot(context), run.label)}


def probe_answer(context: StepContext) -> StepResult:
    """Request the preview through its web port until it answers as this run."""
    return preview_answer.wait_for_answer(context, get_slot(context))


INSTALL = "a complete install of each folder"
WORKTREE = "the files of {commit} in slots/{slot}/worktree"
DATABASE = "a database of {slot} that its role can use"
SURFACE = "this run in the state of the surface of {slot}"
BACKEND = "a healthy backend of {slot}, which was healthy when it started,"
NOTE = "the note of this run in the folder slots/{slot}"

STEPS = (
    PipelineStep("lease", skip_action, probe_lease),
    PipelineStep("worktree", write_worktree, probe_worktree, effect=WORKTREE),
    PipelineStep(
        "install", install, probe_install, effect=INSTALL, context_manager=note_application
    ),
    PipelineStep(
        "database",
        create_database,
        probe_database,
        context_manager=connect_to_database_server,
        effect=DATABASE,
    ),
    PipelineStep("build", build, probe_build, effect=NOTE),
    PipelineStep("migrate", migrate, probe_migrations, effect=NOTE),
    PipelineStep("backend", start_backend, probe_backend, effect=BACKEND, attempts=2),
    PipelineStep("surface", show_preview, probe_surface, effect=SURFACE),
    PipelineStep("answer", skip_action, probe_answer, status_on_success=Status.PREVIEW_READY),
)
