"""An application's files in a folder, and how they are installed and built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from host.app import command_runner, environment, installs, manifest_loader, planning
from host.app.command_runner import CommandFailed
from host.app.dependencies import registries
from host.app.environment import PREVIEW_FILE, ResolvedEnvironment
from host.app.environment_policy import RESERVED_NAMES
from host.app.frameworks import django_project
from host.app.inspection import host_programs
from host.app.manifest import Manifest
from host.app.planning import Command, Plan
from host.app.process_types import process_environment
from host.app.resources import addons, extensions, storage
from host.config import Config, read_env_file
from host.files import log_files, var_folders
from host.files.source_tree import SourceTree
from host.masking.known_secrets import read_stage_masks, remember_secrets
from host.process.users import User


@dataclass(frozen=True)
class Application:
    """The files at `root`, what their manifest says, and the plan that `user` carries out."""

    config: Config
    root: Path
    manifest: Manifest
    plan: Plan
    user: User | None

    @property
    def bins(self) -> list[Path]:
        """The folders of the application's own programs, which go first on PATH."""
        return self.plan.bin_folders(self.config, self.root)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what the application brings that is not honored, for the run's page."""
        return (*self.manifest.notes, *self.plan.notes)

    @property
    def is_installed(self) -> bool:
        return all(
            installs.is_installed(self.config, install, self.root) for install in self.plan.installs
        )

    @property
    def public(self) -> Path | None:
        """The folder of the frontend's files once they are built; None without a frontend."""
        return self.root / self.manifest.public_dir if self.manifest.public_dir else None

    def install(self, *, log: Path, stop: Callable[[], bool] | None = None) -> None:
        """Make the installs that are missing.

        Raises CommandFailed, Refused `command_refused` (also if the host lacks the toolchain of a
        language, before anything is installed), `install_still_runs`.
        """
        host_programs.require_toolchains(self.plan, installs.find_host_program)
        log_start = log_files.read_size(log)
        outcome = installs.make_installs(
            self.config, self.plan, self.root, user=self.user, log=log, stop=stop
        )
        if outcome.exit_code != 0:
            name = "Installing the dependencies"
            raise CommandFailed(name, outcome.failure, outcome, log_start=log_start)

    def build_environment(
        self,
        variables: Mapping[str, str],
        *,
        home: Path,
        purpose: str,
        operator_file: str = PREVIEW_FILE,
        stage: str = "run",
    ) -> ResolvedEnvironment:
        """Return the environment for a process, and have its secrets masked from now on.

        Raises Refused as `environment` does.
        """
        resolved = environment.build_environment(
            self.config,
            {**storage.locate(self.root, self.manifest.storage), **variables},
            self.manifest,
            home=home,
            bins=self.bins,
            file=operator_file,
            purpose=purpose,
            stage=stage,
        )
        remember_secrets(self.config, purpose, resolved)
        return resolved

    def run_builds(
        self,
        variables: Mapping[str, str],
        *,
        purpose: str,
        log: Path,
        stop: Callable[[], bool] | None = None,
        job: str = "",
    ) -> None:
        """Run the builds in their order. Raises as `run` at the first that fails.

        `variables` are those of a start; a build gets `environment.select_build_variables` of them,
        and the operator's values for builds: the same in a preview as in production.
        """
        variables = environment.select_build_variables(self.config, variables)
        if self.manifest.redis:
            variables |= addons.build_redis_variables(addons.BUILD_URL)
        for command in self.plan.builds:
            # A manifest may have several builds of one name: the failure says which of them.
            named = f"{command.name} ({' '.join(command.argv)})"
            self.run(
                replace(command, name=named),
                variables,
                purpose=purpose,
                log=log,
                stop=stop,
                job=job,
                operator_file=environment.BUILD_FILE,
            )

    def run(
        self,
        command: Command,
        variables: Mapping[str, str],
        *,
        purpose: str,
        log: Path,
        stop: Callable[[], bool] | None = None,
        job: str = "",
        operator_file: str = PREVIEW_FILE,
    ) -> None:
        """Run one command of the plan in a private home, which is removed afterwards.

        `log` gets the notes about the environment, the command as the manifest has it, because the
        argv may have a password filled in, and the output. Raises CommandFailed, Refused.
        """
        # A new home each time: what a branch's command leaves in it must not affect the next one.
        with var_folders.private_folder(self.config, self.user) as home:
            resolved = self.build_environment(
                variables,
                home=home,
                purpose=purpose,
                operator_file=operator_file,
                stage=command.stage,
            )
            if command.stage != "run":
                registries.write_files(self.config, home, self.user)
            masks = read_stage_masks(self.config, command.stage)
            with log_files.open_append(log) as file:
                for line in (*resolved.notes, "$ " + " ".join(command.argv)):
                    file.write(f"{masks.mask(line)}\n".encode())
            command_runner.run_command(
                command,
                self.config,
                root=self.root,
                bins=self.bins,
                env=resolved.env,
                log=log,
                user=self.user,
                stop=stop,
                job=job,
            )


def _list_known_variables(config: Config, manifest: Manifest) -> dict[str, str]:
    """Return the variables that a preview or production has; the value may be another one."""
    start = environment.build_production_variables(
        config, port=0, database_url="", release_id="", commit=""
    )
    known = dict.fromkeys((*RESERVED_NAMES, *manifest.env_generated, "OROBOROS_SECRET"), "")
    known |= environment.LISTEN_VARIABLES | environment.STAGE_VARIABLES["run"] | start
    known |= storage.build_variables(manifest.storage, config.var)
    known |= manifest.env_defaults
    known |= addons.build_redis_variables(addons.BUILD_URL if manifest.redis else "")
    types = ["web", *(process.type for process in manifest.processes if process.has_port)]
    known |= process_environment.build_addresses(dict.fromkeys(types, 0))
    for name in (environment.PRODUCTION_FILE, PREVIEW_FILE):
        known |= read_env_file(config.env_dir / name)
    return {**known, **manifest.env}


def read_application(
    config: Config, root: Path, user: User | None, *, has_development: bool = False
) -> Application:
    """Read and plan the manifest at `root`; with `has_development` also what only checks need.

    Raises ApplicationRefused `manifest_invalid`, `command_refused`.
    """
    manifest = manifest_loader.load_manifest(root)
    extensions.require_allowed(config, manifest.extensions)
    plan = planning.make_plan(
        root, manifest, installs.find_tools(config), has_development=has_development
    )
    commands = [one.argv for one in (*plan.builds, plan.release, plan.seed, plan.web) if one]
    commands += [process.command.argv for process in plan.processes]
    known = _list_known_variables(config, manifest)
    django_project.check_settings(SourceTree(root), manifest.backend_dir, commands, known)
    return Application(config, root, manifest, plan, user)
