"""From a lease to `preview_ready`: what makes a slot show a branch.

Each action's probe asks the machine. Where the machine cannot tell (a migration that ran, a build
that ended), the action leaves a note beside what it made, which names the run, the generation and
the fence, so that it never speaks for another run.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any

from host import http_client
from host.app import environment, planning
from host.app.environment import Resolved
from host.app.planning import Command
from host.config import SlotConfig
from host.errors import Refused
from host.files import ownership, publish
from host.postgres import dump, guard
from runs.engine.journal import Action, Context
from runs.engine.step_context import StepFailed
from runs.pipelines import app_commands, schema_changes, template_databases
from runs.pipelines.app_commands import Application
from runs.repository import repository, shown_base
from runs.rules import Status
from slots.models import Lease
from slots.rules import LeaseState
from slots.runtime import backend, backend_log, surface, worktree

PROBE_SECONDS = 15.0
PAUSE_SECONDS = 0.05

Found = dict[str, Any] | None


def slot_of(context: Context) -> SlotConfig:
    """Return the slot that the run's lease names."""
    return context.config.slot(context.results["lease"]["slot_id"])


def app_of(context: Context) -> Application:
    """Read the application in the slot's worktree."""
    slot = slot_of(context)
    return app_commands.read(context.config, worktree.path(slot), context.config.slot_user(slot))


def given_to(context: Context) -> dict[str, str]:
    """Return what the application is given by us: port, database, addresses, whose it is."""
    note = app_commands.noted(slot_of(context).folder, "database")
    return environment.for_slot(
        context.config,
        slot_of(context),
        database_url=note.get("url", ""),
        run_id=str(context.run.pk),
        commit=context.run.commit_sha,
    )


def whose(context: Context) -> dict[str, Any]:
    """Return what tells this preview from any other in the same slot."""
    fence = context.results["lease"]["fence"]
    return {"run": str(context.run.pk), "generation": context.run.generation, "fence": fence}


def leave_note(context: Context, **more: Any) -> None:
    """Write down that this action's effect is there."""
    app_commands.note(slot_of(context).folder, context.action.name, {**whose(context), **more})


def see_note(context: Context) -> Found:
    """Return what this action wrote down for this very preview."""
    note = app_commands.noted(slot_of(context).folder, context.action.name)
    return note if note and note.items() >= whose(context).items() else None


def told(act: Callable[[Context], None]) -> Callable[[Context], None]:
    """Show on the slot's page how far the preview is, then act."""

    @wraps(act)
    def telling(context: Context) -> None:
        names = [action.name for action in ACTIONS]
        here = names.index(context.action.name)
        progress = [
            (name, "done" if number < here else "running" if number == here else "waiting")
            for number, name in enumerate(names)
        ]
        run = context.run
        surface.show_preparing(context.config, slot_of(context), run.pk, run.commit_sha, progress)
        act(context)

    return telling


# -- the actions ----------------------------------------------------------------------------------


def see_lease(context: Context) -> Found:
    """The lease was granted before the bell was rung; here it is noted for the timeline."""
    lease = Lease.objects.filter(run=context.run, state=LeaseState.HELD).select_related("slot")
    held = lease.first()
    if held is None or held.slot is None:
        raise StepFailed("RELEASED", "The run holds no slot any more.")
    seconds = (held.granted_at - held.asked_at).total_seconds() if held.granted_at else 0
    return {"slot_id": held.slot.slot_id, "fence": held.fence, "waited_seconds": seconds}


def nothing(context: Context) -> None:
    """There is nothing to do: the probe finds the effect or says why not."""


@told
def lay_out(context: Context) -> None:
    """Fetch the commit if it is not here and lay its files out in the slot."""
    config, slot, run = context.config, slot_of(context), context.run
    repo = repository(config)
    if not repo.has(run.commit_sha):
        repo.fetch(config.git_remote_url)
    backend.make_idle(config, slot)  # a new commit takes the place of the one that is running
    notes = worktree.lay_out(config, slot, repo, run.commit_sha, config.slot_user(slot))
    context.say("\n".join([f"laid out {run.commit_sha}", *notes]))
    leave_note(context)


def see_worktree(context: Context) -> Found:
    slot = slot_of(context)
    laid_out = worktree.commit(slot) == context.run.commit_sha
    return {"commit": context.run.commit_sha} if laid_out and see_note(context) else None


@told
def install(context: Context) -> None:
    """Install what the application needs; what others installed before is used."""
    app_commands.install(context, app_of(context))


def see_install(context: Context) -> Found:
    app = app_of(context)
    keys = [install.key[:12] for install in app.plan.installs]
    return {"installs": keys} if app.is_installed else None


def on_server(context: Context) -> AbstractContextManager[object]:
    """Connect to the databases' server once for the action and its probe."""
    from host.postgres.administration import Admin

    return Admin(context.config).connected()


@told
def make_database(context: Context) -> None:
    """Clone the target branch's template for the slot, with a password made anew."""
    from host.postgres.administration import Admin

    config, slot = context.config, slot_of(context)
    repo = repository(config)
    target = guard.target(config, slot)
    base = shown_base(repo, config.target_branch)
    admin = Admin(config)
    admin.check_server(target)
    template = template_databases.ensure(context, repo, base, target)
    password = admin.ensure_role(slot.database)
    admin.clone(template, slot.database, slot.database)
    admin.check_target(target, slot.database, password)
    url = guard.application_url(target, slot.database, password)
    context.say(f"{slot.database} is a clone of {template}")
    leave_note(context, url=url, template=template)


def see_database(context: Context) -> Found:
    from host.postgres.administration import Admin

    slot, note = slot_of(context), see_note(context)
    if note is None or not Admin(context.config).ready(slot.database, slot.database):
        return None
    return {"database": slot.database, "template": note["template"]}


@told
def migrate(context: Context) -> None:
    """Run the branch's own migrations; again from the template where an attempt died in them.

    The schema before them is kept for the run's page.
    """
    if context.attempt > 1:
        context.say("an earlier attempt was interrupted: the database is cloned anew")
        make_database_again(context)
    given, template = given_to(context), context.results["database"]["template"]
    before = template_databases.schema(context.config, template) or dump.schema(database_of(given))
    context.artifact(schema_changes.BEFORE, before)
    app_commands.migrate(context, app_of(context), given, purpose=slot_of(context).slot_id)
    leave_note(context)


def database_of(given: dict[str, str]) -> str:
    """Return the URL of the preview's database as PostgreSQL's own programs take it."""
    return app_commands.libpq(given["DATABASE_URL"])


def make_database_again(context: Context) -> None:
    """Clone the database from the template it had, with the password it has."""
    from host.postgres.administration import Admin

    slot = slot_of(context)
    template = context.results["database"]["template"]
    Admin(context.config).clone(template, slot.database, slot.database)


def see_migrations(context: Context) -> Found:
    return {} if see_note(context) else None


@told
def build(context: Context) -> None:
    """Run the application's builds in the worktree."""
    app = app_of(context)
    purpose = slot_of(context).slot_id
    app_commands.run_all(
        context, app, app.plan.builds, given_to(context), purpose=purpose, code="BUILD_FAILED"
    )
    if app.manifest.public is not None:
        with publish.opened(app.root, Path(app.manifest.public)):
            pass  # there is something to serve, or it is refused here and not after the backend
    leave_note(context)


def see_build(context: Context) -> Found:
    return {} if see_note(context) else None


@told
def start_backend(context: Context) -> None:
    """Start the branch's backend, if the application has one; read its schema meanwhile."""
    with dump.reading(database_of(given_to(context))) as after:
        try:
            _start(context, app_of(context))
        finally:
            context.artifact(schema_changes.AFTER, after.result())
    leave_note(context)


def _start(context: Context, app: Application) -> None:
    config, slot, run = context.config, slot_of(context), context.run
    home = slot.folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    ownership.give(home, app.user)
    resolved = app_commands.resolve(app, given_to(context), home=home, purpose=slot.slot_id)
    _keep_environment(context, resolved)
    if app.plan.web is None:
        context.say("the application has no backend")
        return

    def ready(command: Command) -> tuple[str, ...]:
        words = planning.ready(command, config, root=app.root, bins=app.bins, env=resolved.env)
        return tuple(words)

    spec = backend.Spec(
        run_id=str(run.pk),
        commit=run.commit_sha,
        fence=context.results["lease"]["fence"],
        argv=ready(app.plan.web),
        cwd=app.root / app.plan.web.cwd,
        health_path=app.manifest.health_path,
        host=config.frontend_host(slot),
        release=ready(app.plan.release) if app.plan.release else None,
        template=context.results["database"]["template"],
    )
    backend.write_spec(config, slot, spec, resolved.env)
    context.follow(backend_log.path(config, slot))
    try:
        backend.restart(config, slot, stopping=context.is_stopping)
    except Refused as refused:
        context.check()
        raise StepFailed("BACKEND_UNHEALTHY", refused.detail) from refused


def _keep_environment(context: Context, resolved: Resolved) -> None:
    masked = [{**one, "value": one["value"].replace("\n", "\\n")} for one in resolved.masked()]
    lines = [f"{one['name']}={one['value']}  # {one['origin']}" for one in masked]
    context.artifact("environment", "\n".join([*lines, *resolved.notes]))


def see_backend(context: Context) -> Found:
    config, slot = context.config, slot_of(context)
    if see_note(context) is None:
        return None
    found = backend.status(config, slot)
    if found.spec.is_idle:
        return {"backend": None} if app_of(context).plan.web is None else None
    return {"port": slot.backend_port} if found.health.ok else None


def show(context: Context) -> None:
    """Switch the slot's surface to the preview."""
    config, slot, run = context.config, slot_of(context), context.run
    left_out = surface.show_live(config, slot, run.pk, run.commit_sha, app_of(context).public)
    context.say("\n".join([f"{config.frontend_url(slot)} shows {run.commit_sha}", *left_out]))


def see_surface(context: Context) -> Found:
    shown, run = surface.shown(slot_of(context)), context.run
    if shown is None or (shown.run_id, shown.commit, shown.mode) != (
        str(run.pk),
        run.commit_sha,
        "live",
    ):
        return None
    return {"url": context.config.frontend_url(slot_of(context))}


def see_answer(context: Context) -> Found:
    """Ask the preview as a person would, through its web port, until it answers for this run."""
    slot, run = slot_of(context), context.run
    host = context.config.frontend_host(slot)
    until = time.monotonic() + PROBE_SECONDS
    why = ""
    while time.monotonic() < until:
        context.check()
        try:
            answer = http_client.get(slot.web_port, "/", host=host)
        except (OSError, ValueError) as exc:
            why = str(exc)
        else:
            if answer.status < 500 and answer.headers.get("x-oroboros-run") == str(run.pk):
                return {"status": answer.status}
            why = f"status {answer.status}"
        time.sleep(PAUSE_SECONDS)
    raise StepFailed("BACKEND_UNHEALTHY", f"Port {slot.web_port} did not show the preview: {why}.")


ACTIONS = (
    Action("lease", nothing, see_lease),
    Action("worktree", lay_out, see_worktree),
    Action("install", install, see_install),
    Action("database", make_database, see_database, within=on_server),
    Action("migrate", migrate, see_migrations),
    Action("build", build, see_build),
    Action("backend", start_backend, see_backend),
    Action("surface", show, see_surface),
    Action("probe", nothing, see_answer, ends=Status.PREVIEW_READY),
)
