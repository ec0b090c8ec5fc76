"""What both pipelines do with an application's files: read, install, migrate, check, build.

Everything of the application runs as the user given, in an environment built from empty, with its
output in the step's log.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.app import environment, installs, manifest, planning
from host.app.environment import Resolved
from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from host.config import Config
from host.files import ownership, safe_files
from host.git.bare_repository import Repository
from host.postgres import guard
from host.postgres.guard import Target
from host.process.runner import Outcome, User
from runs.engine.step_context import StepFailed, Work


@dataclass(frozen=True)
class Application:
    """An application's files at `root`, and what is to be done with them as `user`."""

    config: Config
    root: Path
    manifest: Manifest
    plan: Plan
    user: User | None

    @property
    def bins(self) -> list[Path]:
        return self.plan.bins(self.config, self.root)

    @property
    def is_installed(self) -> bool:
        return all(installs.is_done(self.config, one, self.root) for one in self.plan.installs)

    @property
    def public(self) -> Path | None:
        """Where the frontend's files lie once they are built."""
        return self.root / self.manifest.public if self.manifest.public else None


def read(config: Config, root: Path, user: User | None) -> Application:
    """Read what the application says. Raises Refused `manifest_invalid`, `command_refused`."""
    says = manifest.load(root)
    return Application(config, root, says, planning.plan(root, says, installs.tools(config)), user)


def lay_out(
    context: Work, repo: Repository, commit: str, root: Path, user: User | None
) -> Application:
    """Put the commit's files at `root` for `user`, in place of what was there, and read them."""
    ownership.delete(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    for note in repo.lay_out(commit, root):
        context.say(note)
    ownership.give(root, user)
    return read(context.config, root, user)


def install(context: Work, app: Application) -> None:
    """Make the installs that are not there. Raises StepFailed BUILD_FAILED, STEP_TIMEOUT."""
    outcome = installs.make_all(
        app.config,
        app.plan,
        app.root,
        user=app.user,
        log=context.log,
        stop=context.is_stopping,
    )
    context.check()
    if outcome.timed_out:
        raise StepFailed("STEP_TIMEOUT", "Installing took too long.")
    if outcome.exit_code != 0:
        raise StepFailed("BUILD_FAILED", f"Installing failed:\n{context.tail()}")


def resolve(app: Application, given: Mapping[str, str], *, home: Path, purpose: str) -> Resolved:
    """Put the application's environment together from what it is given."""
    return environment.build(
        app.config, given, app.manifest, home=home, bins=app.bins, purpose=purpose
    )


def run(
    context: Work, app: Application, command: Command, given: Mapping[str, str], purpose: str
) -> Outcome:
    """Run one of the application's commands. Raises Stopped, StepFailed STEP_TIMEOUT."""
    with installs.private_folder(app.config, app.user) as home:
        resolved = resolve(app, given, home=home, purpose=purpose)
        for note in resolved.notes:
            context.say(note)
        argv = planning.ready(command, app.config, root=app.root, bins=app.bins, env=resolved.env)
        context.say("$ " + " ".join(command.argv))
        return context.command(
            argv,
            cwd=app.root / command.cwd,
            env=resolved.env,
            user=app.user,
            timeout=command.timeout or None,
        )


def run_all(
    context: Work,
    app: Application,
    commands: Sequence[Command],
    given: Mapping[str, str],
    *,
    purpose: str,
    code: str,
) -> None:
    """Run the commands in order. Raises StepFailed `code` at the first that does not succeed.

    One whose folder or program is not in these files does not: a check may be another commit's.
    """
    for command in commands:
        try:
            outcome = run(context, app, command, given, purpose)
        except (FileNotFoundError, NotADirectoryError) as gone:
            raise StepFailed(code, f"{command.name} cannot be started: {gone}") from gone
        if outcome.exit_code != 0:
            how = f"{command.name} ended with exit code {outcome.exit_code}"
            raise StepFailed(code, f"{how}:\n{context.tail()}")


def migrate(context: Work, app: Application, given: Mapping[str, str], *, purpose: str) -> None:
    """Run the application's `release:`. Raises StepFailed MIGRATION_FAILED."""
    if app.plan.release is not None:
        run_all(context, app, [app.plan.release], given, purpose=purpose, code="MIGRATION_FAILED")


def url_for(target: Target, name: str, role: str, password: str) -> str:
    """Return the URL of a database of the pipeline on the template's server."""
    return guard.application_url(
        Target(target.scheme, target.host, target.port, name), role, password
    )


def libpq(url: str) -> str:
    """Return an application's URL without the driver in its scheme."""
    return f"postgresql://{url.partition('://')[2]}"


def note(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Write down on the machine that an effect is there, whole, for the probe to find."""
    safe_files.write_atomic(folder / f"{name}.done", json.dumps(content).encode(), 0o600)


def noted(folder: Path, name: str) -> dict[str, Any]:
    """Return what was written down, or nothing."""
    try:
        return json.loads((folder / f"{name}.done").read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return {}
