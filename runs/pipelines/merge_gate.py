"""The merge gate: migrates the candidate on a clone, builds it for production, and checks it.

This build is the one that is deployed; `release_start` starts it once. The checks are those of the
base. If the candidate changes them, both sets run, unless the approval accepted the candidate's
alone. A gate has a folder and a database of its own, which are removed at its end.
"""

from pathlib import Path
from uuid import UUID

from host.app import environment, manifest_loader, planning
from host.app.application import Application, read_application
from host.app.planning import Command
from host.app.resources import mail
from host.config import Config
from host.deadline import wait_until
from host.errors import Refused
from host.files import leftovers, ownership
from host.postgres import guard
from host.process import termination
from host.process.users import DelegatedUser
from releases.builds import build
from releases.builds.build import BuildFailed
from releases.models import DeploymentLost
from releases.production import gate_start
from runs.engine import step_notes
from runs.engine.step_context import StepContext, StepResult
from runs.engine.step_errors import StepFailed, StepStopped
from runs.models import Approval, Precheck, Run
from runs.pipelines import app_commands, template_databases
from runs.pipelines.target_branch import trials
from runs.repository import open_repository

# Above the time that a precheck has to give way, also if its worker was killed: then another one
# removes its gate, once 20 s have passed and a worker is free.
PRECHECK_SECONDS = 600.0


def gate_folder(config: Config, gate_id: UUID) -> Path:
    """Return the folder of the gate of a run or a precheck."""
    return config.var / "gates" / str(gate_id)


def _folder(context: StepContext) -> Path:
    return gate_folder(context.config, context.gate_id)


def migrate_candidate(context: StepContext) -> None:
    """Write the candidate's files and run its migrations on a clone of the base's template.

    In a sealed tree, as production does. The checks may change it again, and for them this install
    has the groups for development: the release has an install of its own, without them.
    """
    from host.postgres.administration import DatabaseAdmin

    if not context.is_precheck:
        _wait_for_prechecks(context)
    config, run, root = context.config, context.run, _folder(context) / "tree"
    repo = open_repository(config)
    app = app_commands.write_application(
        context, repo, run.candidate_sha, root, context.gate_user, has_development=True
    )
    app_commands.install_application(context, app)
    # A gate has no slot; the URLs of all slots lead to the same server.
    target = guard.resolve_target(config, config.slots[0])
    admin, name = DatabaseAdmin(config), guard.gate_name(context.gate_id)
    with admin.connection():
        admin.check_server(target)
        template = template_databases.ensure_run_template(
            context, repo, run.base_sha, run.candidate_sha, target
        )
        password = admin.ensure_role(name)
        admin.clone(template, name, name)
        admin.create_extensions(name, name, app.manifest.extensions)
    url = app_commands.database_url(target, name, name, password)
    variables = _gate_variables(context, app, url)
    app_commands.empty_redis(context, app)
    app_commands.seal(app)
    app_commands.run_release_command(context, app, variables, purpose="gate")
    ownership.reopen_tree(root, app.user)
    note = {"candidate": run.candidate_sha, "url": url}
    step_notes.write_note(_folder(context), "migrations", note)


def _wait_for_prechecks(context: StepContext) -> None:
    """Wait until no precheck runs on this host.

    No process of a commit without an approval may reach the files and services of this gate.
    A precheck gives way within seconds, and none begins while a run ships. After a worker was
    killed its row says that it runs until the next claim has removed what it left. Raises
    StepStopped, Refused `precheck_runs`.
    """
    running = Precheck.objects.on_host(context.config.host_name).running()
    is_over = wait_until(
        lambda: not running.exists(),
        seconds=PRECHECK_SECONDS,
        interval=0.5,
        stop=context.is_stopping,
    )
    context.raise_if_stopping()
    if not is_over:
        detail = (
            f"A precheck has not ended within {PRECHECK_SECONDS:.0f} s: see its run's page and "
            "the worker's log, then retry the run."
        )
        raise Refused("precheck_runs", detail)


def probe_migrations(context: StepContext) -> StepResult:
    """Return a result if the note says that this candidate was migrated."""
    note = step_notes.read_note(_folder(context), "migrations")
    return {} if note.get("candidate") == context.run.candidate_sha else None


def run_checks(context: StepContext) -> None:
    """Run the base's checks on the candidate, and the candidate's own if they differ."""
    from host.postgres.administration import DatabaseAdmin

    config, run, folder = context.config, context.run, _folder(context)
    candidate = {"candidate": run.candidate_sha}
    if step_notes.read_note(folder, "checking") == candidate:
        context.write_log(
            "earlier checks were interrupted: the files and the database are created again"
        )
        migrate_candidate(context)
    # Written before the checks, which may change files and rows.
    step_notes.write_note(folder, "checking", candidate)
    app = read_application(config, folder / "tree", context.gate_user, has_development=True)
    checks = _select_checks(context, app)
    url = step_notes.read_note(folder, "migrations")["url"]
    context.write_log(f"{len(checks)} checks on {run.candidate_sha}")
    variables = _gate_variables(context, app, url)
    commands = [" ".join(check.argv) for check in checks]
    for number, check in enumerate(checks):
        # In the journal, for the run's page: a check could print in the log what another one does.
        context.record_progress(passed=commands[:number], running=commands[number])
        _run_check(context, app, check, variables)
    step_notes.write_note(
        folder, "checks", {**candidate, "checks": [check.name for check in checks]}
    )
    # After the note: a crash in between leaves a database, which `remove_gate` drops.
    DatabaseAdmin(config).drop(guard.gate_name(context.gate_id))


def _run_check(
    context: StepContext, app: Application, check: Command, variables: dict[str, str]
) -> None:
    """Run the check. Raises StepFailed, MAIN_BROKEN if the base fails this check of its own too."""
    try:
        app_commands.run_commands(
            context, app, [check], variables, purpose="gate", code="CHECKS_FAILED"
        )
    except StepFailed as failed:
        if failed.code == "CHECKS_FAILED" and check in _read_base_checks(context):
            url = variables["DATABASE_URL"]
            trials.raise_if_base_fails_check(
                context, check, lambda base: _gate_variables(context, base, url), failed
            )
        raise


def _select_checks(context: StepContext, app: Application) -> list[Command]:
    """Return the base's checks, then the candidate's that are not among them."""
    base = _read_base_checks(context)
    own = [check for check in app.plan.checks if check not in base]
    approval = find_acceptance(context.run)
    if approval is not None and [*base] != [*app.plan.checks]:
        context.write_log(
            f"{approval.actor} accepted the candidate's checks in place of the base's"
        )
        return [*app.plan.checks]
    if own:
        context.write_log("the candidate changes the checks: both sets run")
    return [*base, *own]


def find_acceptance(run: Run) -> Approval | None:
    """Return the approval that accepts the branch's own checks, of several people any one's."""
    return run.approvals.valid().filter(accepts_checks=True).first()


def _read_base_checks(context: StepContext) -> list[Command]:
    """Return the base's checks; none if its manifest is missing or cannot be read."""
    raw = open_repository(context.config).read_file(context.run.base_sha, "oroboros.toml") or b""
    try:
        return [*planning.plan_checks(manifest_loader.read_checks(raw.decode()))]
    except (Refused, UnicodeDecodeError) as unreadable:
        context.write_log(
            f"the base's manifest cannot be read, so none of its checks run: {unreadable}"
        )
        return []


def probe_checks(context: StepContext) -> StepResult:
    """Return the checks if the note says that this candidate passed them."""
    note = step_notes.read_note(_folder(context), "checks")
    if note.get("candidate") != context.run.candidate_sha:
        return None
    return {"checks": note["checks"]}


def build_release(context: StepContext) -> None:
    """Build the candidate for production. Raises StepFailed, MAIN_BROKEN if the base fails too."""
    config, run = context.config, context.run
    try:
        release = build.build_release(
            config,
            open_repository(config),
            run.candidate_sha,
            context.gate_id,
            log=context.log,
            stop=context.is_stopping,
            job=context.job,
            title=run.title,
            is_temporary=context.is_precheck,
        )
    except BuildFailed as error:
        failed = StepFailed(error.code, error.detail)
        if failed.code == "BUILD_FAILED":
            trials.raise_if_base_release_fails(context, failed)
        raise failed from error
    except DeploymentLost:
        raise StepStopped from None
    context.update_run(release=release)


def probe_release(context: StepContext) -> StepResult:
    """Return the release if its build is of this candidate and complete."""
    release = context.run.release
    if release is None or release.commit_sha != context.run.candidate_sha:
        return None
    if release.built_at is None:
        return None
    return {"release": release.pk}


def remove_gate(config: Config, gate_id: UUID) -> None:
    """Stop what the gate started; drop its database, home and folder. May be repeated.

    Also what it built of the base.
    """
    from host.postgres.administration import DatabaseAdmin

    gate_start.remove(config, str(gate_id))
    build.delete_temporary_builds(config, gate_id)
    DatabaseAdmin(config).drop(guard.gate_name(gate_id))
    ownership.delete_tree(gate_folder(config, gate_id))
    _remove_job_leftovers(config)


def _remove_job_leftovers(config: Config) -> None:
    """Remove what jobs left outside their folders, unless another one of the same user runs."""
    for user in (config.job_user, config.precheck_user):
        if user is None or isinstance(user, DelegatedUser):
            return
        termination.kill_orphans(user.uid, only_unmarked=True)
        if not user.pids():
            leftovers.remove_leftovers(user.uid)


def _gate_variables(context: StepContext, app: Application, url: str) -> dict[str, str]:
    run = context.run
    return {
        **environment.build_database_variables(url),
        **mail.build_variables(context.config.discard_port),
        **app_commands.build_redis_variables(context, app),
        "OROBOROS_RUN": str(run.pk),
        **environment.build_source_variables(run.candidate_sha, context.config.target_branch),
    }
