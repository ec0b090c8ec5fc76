"""Installs, starts, stops and removes this checkout's systemd units, as root.

`plan_steps` lists all that the installation changes. Each step can say whether it is done, so the
installation may be repeated, and a dry run prints what is left. The scripts run this with the
host's Python before any package is installed: standard library only.
"""

import os
import pwd
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from host import config as configuration
from host.config import INSTALLED_UNIT, SYSTEM_ENV_DIR, Config
from host.env_file import format_assignment
from host.errors import Refused
from host.files import safe_files
from host.process import runner
from host.process.users import User
from host.service_user import OWN_UNITS, SERVICE
from host.settings_rules import MAX_SERVERS
from host.units import jobs
from host.units.unit_files import OF_SLOT, TERMINALS, list_unit_files, render_file
from host.units.unit_files import TEMPLATE_HOME as TEMPLATE_HOME
from ops import progress, setup_command, virtualenv
from ops.installed import (
    bytecode,
    env_folder,
    production_folders,
    public_router,
    remote_paths,
    secret_env_files,
)
from ops.installed.install_steps import (
    InstallStep,
    absent_step,
    folder_step,
    link_step,
    log_step,
    text_step,
)
from ops.installed.public_router import render_web_environment
from ops.postgres import system_server
from ops.preconditions import checkout_path
from slots.runtime import backend_log, surface_env_files

UNITS = Path("/etc/systemd/system")
POLKIT = Path("/etc/polkit-1/rules.d/50-oroboros.rules")
SYSUSERS = Path("/etc/sysusers.d/oroboros.conf")
TMPFILES = Path("/etc/tmpfiles.d/oroboros.conf")
MAIN_WEB_PORT = 3100  # without an offset
COMMAND_SECONDS = 300.0
TARGET = "ouroboros.target"
SLICE = "ouroboros.slice"  # the parent that systemd makes for ouroboros-*.slice
HEADER = "# Written once by systemd-install-runtime.sh; .env.example lists every other setting.\n"


def install(config: Config, *, dry_run: bool) -> str:
    """Install the units and all they need; returns a sentence.

    Raises Refused `not_ready`, `unit_refused`, `postgres_unusable`, `schema_too_old`,
    `setup_failed`.
    """
    _require_no_problems(config)
    steps = [step for step in plan_steps(config) if not step.is_done()]
    if dry_run:
        for step in steps:
            progress.print_line(f"would write {step.description}")
        return f"{len(steps)} changes would be made; nothing was changed."
    virtualenv.install_requirements(config, "embedded")
    for step in steps:
        progress.print_line(f"writing {step.description}")
        step.apply()
    remove_slots(config)
    run_systemctl("daemon-reload")
    run_systemctl("enable", "--quiet", TARGET, *list_enabled_units(config))
    for line in setup_command.run_setup(config, str(config.home / ".venv/bin/python")):
        progress.print_line(line)
    return f"{len(steps)} changes were made. Start the stack: ./scripts/runtime-up.sh"


def _require_no_problems(config: Config) -> None:
    """Raise Refused `not_ready` with all problems at once."""
    problems = find_problems(config)
    if problems:
        lines = "\n".join(f"- {problem}" for problem in problems)
        raise Refused("not_ready", f"Not ready, nothing was installed:\n{lines}")


def find_problems(config: Config) -> list[str]:
    """Return every problem that prevents the installation, each with what to do."""
    if os.geteuid() != 0:
        return ["Only root can install units: run it as root."]
    problems = list(checkout_path.find_unit_path_problems(config.home))
    if not config.var.is_relative_to(config.home):
        problems += checkout_path.find_unit_path_problems(config.var)
    # sd_booted(3): systemctl may be installed on a host with another init.
    if not configuration.BOOTED_BY_SYSTEMD.is_dir():
        problems.append("This host was not booted by systemd: use ./scripts/quickstart.sh.")
    if shutil.which("pkaction") is None:
        problems.append("polkit is missing: apt-get install polkitd.")
    other = configuration.read_env_file(SYSTEM_ENV_DIR / "api.env").get("OROBOROS_HOME")
    if other and Path(other).resolve() != config.home:
        problems.append(f"{SYSTEM_ENV_DIR} belongs to {other}: run --uninstall there first.")
    if (config.var / "postgres").exists():
        problems.append(f"{config.var} has an embedded database: use a checkout of its own.")
    if config.web_port != MAIN_WEB_PORT:
        problems.append("Unset OROBOROS_PORT_OFFSET: the installed units have fixed ports.")
    problems += env_folder.find_problems(SYSTEM_ENV_DIR)
    return problems + ([] if config.database_url else system_server.find_problems())


def plan_steps(config: Config) -> Iterator[InstallStep]:
    """Yield all steps of the installation in their order."""
    # The users first: every folder and file after this belongs to one of them.
    yield text_step(SYSUSERS, render_file(config, "sysusers.conf"))
    yield InstallStep(
        "the users",
        lambda: (
            all(is_role_ready(role) for role in list_roles(config))
            and all(map(production_folders.is_member, (SERVICE, *production_folders.READERS)))
        ),
        lambda: _run_command("systemd-sysusers", str(SYSUSERS)),
    )
    entered = ("", "log", "log/slots", "slots", "cache", "redis", "storage", "tmp")
    # What uses the others decides who may enter them.
    for name in (*entered, "run", "gates", "templates", "artifacts"):
        yield folder_step(config.var / name, needed=0o711 if name in entered else 0o700)
    yield InstallStep(
        "the folders of production's files, closed to other users",
        lambda: not production_folders.list_open(config),
        lambda: production_folders.close(config, SERVICE),
    )
    # The only folder that the production app may write to.
    yield folder_step(config.var / "app", mode=0o770, group="ouroboros-app")
    for slot in config.slots:
        yield log_step(
            config.var / "log" / "slots" / f"{slot.slot_id}.log", f"ouroboros-{slot.slot_id}"
        )
    tmpfiles = ["systemd-tmpfiles", "--create", str(TMPFILES)]
    yield text_step(TMPFILES, render_file(config, "tmpfiles.conf"))
    yield InstallStep(
        "the folders of jobs and of the runbook's log paths",
        lambda: all(os.path.lexists(path) for path in list_temporary_paths(config)),
        lambda: _run_command(*tmpfiles),
    )
    yield InstallStep(
        f"{SYSTEM_ENV_DIR}/",
        lambda: env_folder.is_closed(SYSTEM_ENV_DIR),
        lambda: env_folder.close(SYSTEM_ENV_DIR),
    )
    yield InstallStep(
        f"{SYSTEM_ENV_DIR / env_folder.VARIABLES}/, with the files of applications' variables",
        lambda: env_folder.has_variables(SYSTEM_ENV_DIR),
        lambda: env_folder.move_variables(SYSTEM_ENV_DIR, HEADER, find_service_user()),
    )
    for name in surface_env_files.list_names(config):
        path = surface_env_files.find_path(config, name)
        # As in git, unless the checkout ran with a port offset before.
        yield text_step(path, surface_env_files.render(config, name))
    # Links, not copies: the runbook's `cat` of the checkout's files then shows what systemd reads.
    for path in _list_surface_env_files(config):
        yield link_step(SYSTEM_ENV_DIR / path.name, path)
    yield text_step(SYSTEM_ENV_DIR / "web.env", render_web_environment(config))
    for name, build in secret_env_files.SECRET_FILES.items():
        yield _secret_step(SYSTEM_ENV_DIR / name, config, build)
    yield text_step(POLKIT, render_polkit_rule(config))
    for name in list_unit_files(config):
        yield text_step(UNITS / name, render_file(config, f"units/{name}"))
    for path in remote_paths.list_drop_ins(UNITS):
        text = remote_paths.render_drop_in(config.git_local_roots, path)
        yield text_step(path, text) if text else absent_step(path)
    path = UNITS / public_router.DROP_IN
    yield text_step(path, public_router.TEXT) if config.is_public else absent_step(path)
    yield InstallStep(
        "the bytecode of the modules, which the units' users cannot write",
        lambda: bytecode.has_current(config.home),
        lambda: bytecode.compile_modules(config.home),
    )


def list_temporary_paths(config: Config) -> list[Path]:
    """Return what tmpfiles.d makes at each boot; a person, or a cleaner of /tmp, may remove it."""
    logs = backend_log.links_folder(config)
    return [jobs.FOLDER, *(logs / f"{slot.slot_id}.log" for slot in config.slots)]


def _list_surface_env_files(config: Config) -> list[Path]:
    """Return the surfaces' env files, those of slots that are not configured too."""
    present = (config.home / surface_env_files.FOLDER).iterdir()
    configured = (
        surface_env_files.find_path(config, name) for name in surface_env_files.list_names(config)
    )
    return sorted({*present, *configured})


def list_roles(config: Config) -> list[str]:
    """Return the users that the control plane shares a group with, without `ouroboros-`."""
    return ["job", "install", "app", *(slot.slot_id for slot in config.slots)]


def is_role_ready(role: str) -> bool:
    """Return whether the role's user exists and the control plane is in its group."""
    user = jobs.find_user(role)
    # getgrouplist reads /etc/group; the groups of this process are those of its start.
    return user is not None and user.gid in os.getgrouplist(SERVICE, 0)


def render_polkit_rule(config: Config) -> str:
    """Return the polkit rule for the control plane's user.

    If the reload hook restarts the API or the worker, the rule allows that too.
    """
    rule = render_file(config, "polkit.rules")
    if OWN_UNITS.search(config.get("DEPLOY_BACKEND_RELOAD_CMD")):
        rule = rule.replace("deploysItself = false", "deploysItself = true")
    return rule


def list_enabled_units(config: Config) -> list[str]:
    """Return the units that systemd starts at boot."""
    previews = [f"preview{slot.number}" for slot in config.slots]
    return [
        "ouroboros-migrate.service",
        "ouroboros-api.service",
        "ouroboros-worker.service",
        *(f"ouroboros-web@{name}.service" for name in ["main", *previews]),
        "ouroboros-caddy.service",
        *(f"ouroboros-preview@{slot.slot_id}.service" for slot in config.slots),
        # Of the two colours only the one with a spec in var/run starts: ConditionPathExists.
        "ouroboros-app@blue.service",
        "ouroboros-app@green.service",
        "ouroboros-reaper.timer",
        "ouroboros-reconciler.timer",
        "ouroboros-retention.timer",
    ]


def remove_slots(config: Config) -> None:
    """Stop the units of slots that are not configured any more, and remove their files.

    With such a slot the worker is stopped too; the start of the stack starts it again.
    """
    kept, is_worker_stopped = {slot.slot_id for slot in config.slots}, False
    for folder in sorted(UNITS.glob("ouroboros-*@preview-*.service.d")):
        number = OF_SLOT.search(folder.name)
        if number is not None and number[0] not in kept:
            if not is_worker_stopped:
                # It has the earlier settings, and would quarantine the slot for what is stopped.
                run_systemctl("stop", "ouroboros-worker.service")
                is_worker_stopped = True
            surface_name = number[0].replace("-", "")
            backend = f"ouroboros-preview@{number[0]}"
            servers = (f"{backend}.{place}" for place in range(1, MAX_SERVERS + 1))
            names = (backend, *servers, f"ouroboros-web@{surface_name}")
            run_systemctl("disable", "--quiet", "--now", *names)
            # With its slice all other processes of the slot end; it would stay active without them.
            slot_slice = f"ouroboros-previews-{number[0]}.slice"
            run_systemctl("stop", f"ouroboros-redis@{number[0]}.service", slot_slice)
            shutil.rmtree(folder)
    for path in UNITS.glob("ouroboros-process-preview-*@.service"):
        number = OF_SLOT.search(path.name)
        if number is not None and number[0] not in kept:
            path.unlink()


def _secret_step(
    path: Path, config: Config, build: Callable[[Config], dict[str, str]]
) -> InstallStep:
    def write() -> None:
        lines = "".join(format_assignment(*item) for item in build(config).items())
        safe_files.write_atomic(path, (HEADER + lines).encode(), 0o600, find_service_user())

    # Never overwritten: a new password would lock out what runs with the old one.
    return InstallStep(f"{path}, with its secrets", path.exists, write)


def find_service_user() -> User:
    """Return the user of the control plane."""
    entry = pwd.getpwnam(SERVICE)
    return User(entry.pw_uid, entry.pw_gid)


def uninstall(config: Config, *, dry_run: bool) -> str:
    """Stop the stack and remove what was installed; data, secrets and users stay.

    Returns a sentence. May be repeated: the file by which `Config.is_systemd` knows that the units
    are installed is removed last. Raises Refused `not_ready`, `unit_refused`.
    """
    if os.geteuid() != 0:
        raise Refused("not_ready", "Only root can remove units: run it as root.")
    if not config.is_systemd:
        return "Nothing is installed for this checkout."
    files = [path for path in list_installed_files(config) if path.exists() or path.is_symlink()]
    if dry_run:
        for path in files:
            progress.print_line(f"would remove {path}")
        return f"{len(files)} files would be removed; nothing was changed."
    stop_units(config)
    # A slice stays active without units; stopping the parent stops the slices below it.
    run_systemctl("stop", SLICE)
    run_systemctl("disable", "--quiet", TARGET, *list_enabled_units(config))
    for path in files:
        path.unlink()
        if path.parent.suffix == ".d" and path.parent.parent == UNITS:  # a drop-in's folder
            path.parent.rmdir()
    for folder in (jobs.FOLDER.parent, TERMINALS, backend_log.links_folder(config)):
        shutil.rmtree(folder, ignore_errors=True)
    run_systemctl("daemon-reload")
    # A unit that a timer had just started was killed, and systemd would keep listing it as failed.
    run_systemctl("reset-failed", "ouroboros*")
    return (
        f"{len(files)} files were removed. These stay: {config.var}, the env files with secrets "
        f"in {SYSTEM_ENV_DIR}, the databases, and the users: see docs/uninstall.md."
    )


def list_installed_files(config: Config) -> list[Path]:
    """Return the files without secrets that the installation writes, in the order of removal."""
    links = [SYSTEM_ENV_DIR / path.name for path in _list_surface_env_files(config)]
    # False sorts before True, so INSTALLED_UNIT, by which is_installed decides, is the last one.
    units = sorted((UNITS / name for name in list_unit_files(config)), key=INSTALLED_UNIT.__eq__)
    drop_ins = [*remote_paths.list_drop_ins(UNITS), UNITS / public_router.DROP_IN]
    return [*links, SYSTEM_ENV_DIR / "web.env", POLKIT, SYSUSERS, TMPFILES, *drop_ins, *units]


def start_units(config: Config) -> None:
    """Start all enabled units. Raises Refused `not_root`, `unit_refused` with systemd's message."""
    if os.geteuid() != 0:
        raise Refused("not_root", "Only root can start the installed units: run it as root.")
    run_systemctl("start", *(f"ouroboros-web@preview{slot.number}" for slot in config.slots))
    # In a process of its own, which becomes the service user: this one stays root.
    _run_command(sys.executable, "-m", "ops", "slots", cwd=config.home)
    run_systemctl("start", TARGET, *list_enabled_units(config))


def stop_units(config: Config) -> None:
    """Stop all units, the worker first: it restarts what it finds stopped.

    Raises Refused `not_root`, `unit_refused`.
    """
    if os.geteuid() != 0:
        raise Refused("not_root", "Only root can stop the installed units: run it as root.")
    run_systemctl("stop", "ouroboros-worker.service")
    # systemctl expands a pattern to loaded units only, so the enabled ones are named as well.
    run_systemctl("stop", TARGET, *list_enabled_units(config), "ouroboros-*.service")


def run_systemctl(*arguments: str) -> None:
    """Run systemctl as root. Raises Refused `unit_refused` with its message."""
    _run_command("systemctl", "--no-ask-password", *arguments)


def _run_command(*argv: str, cwd: Path | None = None) -> None:
    result = runner.capture(argv, cwd=cwd, timeout=COMMAND_SECONDS)
    if result.exit_code != 0:
        error = result.stderr.decode(errors="replace").strip()
        raise Refused("unit_refused", f"{' '.join(argv[:3])}: {error}")
