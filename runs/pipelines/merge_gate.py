"""The gate: the exact candidate is migrated on a clone, checked, and built for production.

What is built here is what is deployed. The checks are those of the base; where the candidate
changes them, both sets run, unless the approval took the candidate's alone. A gate has a folder and
a database of its own; both go with its end.
"""

from pathlib import Path
from typing import Any

from host.app import environment, manifest, planning
from host.app.planning import Command
from host.config import Config
from host.errors import Refused
from host.files import ownership
from host.postgres import guard
from releases.builds import build as releases
from releases.builds.build import BuildFailed
from releases.models import ActivationLost
from runs.engine.journal import Context
from runs.engine.step_context import StepFailed, Stopped
from runs.models import Approval, Run
from runs.pipelines import app_commands, template_databases
from runs.pipelines.app_commands import Application
from runs.repository import repository

Found = dict[str, Any] | None


def folder(context: Context) -> Path:
    """Return the folder of the run's gate."""
    return _folder(context.config, context.run)


def _folder(config: Config, run: Run) -> Path:
    return config.var / "gates" / str(run.pk)


def rehearse(context: Context) -> None:
    """Lay the candidate out and run its migrations on a clone of the base's template."""
    from host.postgres.administration import Admin

    config, run = context.config, context.run
    repo = repository(config)
    app = app_commands.lay_out(
        context, repo, run.candidate_sha, folder(context) / "tree", config.job_user
    )
    app_commands.install(context, app)
    target = guard.target(config, config.slots[0])
    admin, name = Admin(config), guard.gate_name(run.pk)
    with admin.connected():
        admin.check_server(target)
        template = template_databases.ensure(context, repo, run.base_sha, target)
        password = admin.ensure_role(guard.GATE_ROLE)
        admin.clone(template, name, guard.GATE_ROLE)
    url = app_commands.url_for(target, name, guard.GATE_ROLE, password)
    app_commands.migrate(context, app, _given(context, url), purpose="gate")
    app_commands.note(folder(context), "rehearse", {"candidate": run.candidate_sha, "url": url})


def see_rehearsal(context: Context) -> Found:
    """The rehearsal is there if its note speaks of this very candidate."""
    note = app_commands.noted(folder(context), "rehearse")
    return {} if note.get("candidate") == context.run.candidate_sha else None


def check(context: Context) -> None:
    """Run the base's checks on the candidate, and the candidate's own where they differ."""
    from host.postgres.administration import Admin

    config, run = context.config, context.run
    if app_commands.noted(folder(context), "checking") == {"candidate": run.candidate_sha}:
        context.say("earlier checks were interrupted: the files and the database are made anew")
        rehearse(context)
    app_commands.note(folder(context), "checking", {"candidate": run.candidate_sha})
    app = app_commands.read(config, folder(context) / "tree", config.job_user)
    checks = _checks(context, app)
    url = app_commands.noted(folder(context), "rehearse")["url"]
    context.say(f"{len(checks)} checks on {run.candidate_sha}")
    app_commands.run_all(
        context, app, checks, _given(context, url), purpose="gate", code="CHECKS_FAILED"
    )
    app_commands.note(
        folder(context),
        "checks",
        {"candidate": run.candidate_sha, "checks": [one.name for one in checks]},
    )
    Admin(config).drop(guard.gate_name(run.pk))


def _checks(context: Context, app: Application) -> list[Command]:
    """Return the base's checks, then the candidate's that are not among them."""
    base = _base_checks(context)
    own = [one for one in app.plan.checks if one not in base]
    approval = context.run.approvals.get(verdict=Approval.APPROVED, voided_at=None)
    if approval.accepts_checks and [*base] != [*app.plan.checks]:
        context.say(f"{approval.actor} accepted the candidate's checks in place of the base's")
        return [*app.plan.checks]
    if own:
        context.say("the candidate changes the checks: both sets run")
    return [*base, *own]


def _base_checks(context: Context) -> list[Command]:
    """Return the base's checks; none where it does not say any, as a first commit."""
    said = repository(context.config).show_file(context.run.base_sha, "oroboros.toml") or b""
    try:
        return [*planning.checking(manifest.checks(said.decode()))]
    except (Refused, UnicodeDecodeError) as unreadable:
        context.say(f"the base has no checks: {unreadable}")
        return []


def see_checks(context: Context) -> Found:
    """The checks passed if their note speaks of this very candidate."""
    note = app_commands.noted(folder(context), "checks")
    if note.get("candidate") != context.run.candidate_sha:
        return None
    return {"checks": note["checks"]}


def build(context: Context) -> None:
    """Build the candidate for production."""
    config, run = context.config, context.run
    try:
        release = releases.build(
            config,
            repository(config),
            run.candidate_sha,
            run.pk,
            log=context.log,
            stop=context.is_stopping,
            job=context.job,
        )
    except BuildFailed as failed:
        raise StepFailed(failed.code, failed.detail) from failed
    except ActivationLost:
        raise Stopped from None
    context.set(release=release)


def see_build(context: Context) -> Found:
    """The build is there if the registry has it whole, of this very candidate."""
    release = context.run.release
    if release is None or release.commit_sha != context.run.candidate_sha:
        return None
    if release.built_at is None:
        return None
    return {"release": release.pk}


def close(config: Config, run: Run) -> None:
    """Drop the gate's database and folder. May be repeated."""
    from host.postgres.administration import Admin

    Admin(config).drop(guard.gate_name(run.pk))
    ownership.delete(_folder(config, run))


def _given(context: Context, url: str) -> dict[str, str]:
    run = context.run
    return {
        **environment.for_database(url),
        "OROBOROS_RUN": str(run.pk),
        "OROBOROS_COMMIT": run.candidate_sha,
    }
