"""The start of a sealed release in the merge gate: once, as production would start it.

Only the port, the database, the home, the storage and Redis differ from production's: the home and
the storage are copies, because what earlier releases left decides whether the next one starts. At
most one gate's release runs at a time: the unit has one name and port, and a lock is held. The
folder of its home is named for the run; it exists before the unit starts and is deleted after the
unit has stopped, so it says whose unit may be running, also after a crash.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from host import log_message
from host.app.command_runner import CommandFailed, run_command
from host.app.planning import Command
from host.app.resources import held_locks, storage
from host.app.resources.folder_copy import FolderCopy
from host.app.resources.held_locks import HeldLocks
from host.config import Config
from host.errors import Refused
from host.files import ownership, safe_files
from host.files.file_lock import file_lock
from host.postgres import guard, lock_timeout
from host.postgres.administration import DatabaseAdmin
from host.services.redis_server import JOBS
from host.units import managers
from host.units.health import Health, describe_failed_start, wait_until_healthy
from host.units.unit import Unit, UnitKilled, start_again_if_killed, start_unit, stop_together
from releases.builds.build_folders import production_storage, source_folder, storage_root
from releases.builds.launch_spec import LaunchSpec
from releases.models import DeploymentLost, Release
from releases.production import app_instance, colours
from releases.production.app_instance import Instance
from releases.production.deploy_settings import DeploySettings
from releases.production.deployment_context import append_to_log
from releases.production.start_facts import find_differences

GATE = "gate"
# What it served is of no use, so it is not given the time that a colour has.
GRACE_SECONDS = 2.0
# An earlier worker stops its release within GRACE_SECONDS once it has lost its claim.
LOCK_SECONDS = 60.0
LOG_LINES = 40  # in which a difference is looked for
COPY_MB = 1024


class StartFailed(Exception):
    """The sealed release did not start; the text says why, and in what production differs."""


@dataclass(frozen=True)
class GateStart:
    """What the start of one run's release works with; `database_url` is the gate's database.

    `has_files`: its home or storage has files of production's. `locks`: what is locked there, or in
    the database, because the live application's processes have such locks.
    """

    config: Config
    release: Release
    run_id: str
    spec: LaunchSpec
    database_url: str
    log: Path
    stop: Callable[[], bool]
    job: str
    has_files: bool = False
    locks: tuple[str, ...] = ()

    @property
    def instance(self) -> Instance:
        return Instance(
            GATE,
            self.config.gate_port,
            self.database_url,
            home_folder(self.config, self.run_id),
            storage_folder(self.config),
            self.config.server_ports[GATE],
            JOBS,
        )


def home_folder(config: Config, run_id: str) -> Path:
    """Return the home that the application has while the run's release is started."""
    return config.var / "app-gates" / run_id


def storage_folder(config: Config) -> Path:
    """Return the folder of the storage of the release that is started: made anew at each start."""
    return storage_root(config) / GATE


def list_run_ids(config: Config) -> list[str]:
    """Return the runs whose release may still run: their homes were not deleted."""
    folder = config.var / "app-gates"
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def start_once(start: GateStart, web: Command) -> list[str]:
    """Run the sealed release's `release:`, start its servers, and stop them once all are healthy.

    `web` is the command of the first of them. Returns a sentence for each folder that differs from
    production's, because it was not copied as a whole.

    May be repeated after a crash. Raises StartFailed, Refused (also if the port is taken), and
    DeploymentLost if `stop` returned true.
    """
    config = start.config
    with _lock(config, start.stop) as is_taken, ExitStack() as cleanup:
        _raise_if_stopping(start)
        _require(is_taken)
        for run_id in list_run_ids(config):
            _remove(config, run_id)  # of a worker that was killed
        cleanup.callback(_remove, config, start.run_id)
        notes = _start_beside_locks(start, web)
        if notes is None:
            # Its locks were those of a moment, such as a transaction's: it will not meet them.
            _remove(config, start.run_id)
            notes = _copy_files(start)
            _start_all(start, web)
        return notes


def _start_beside_locks(start: GateStart, web: Command) -> list[str] | None:
    """Make the copies, and start the release on them beside the locks of the live one.

    Returns what `_copy_files` does; None if it did not start and the live one no longer has all of
    these locks.
    """
    with ExitStack() as cleanup:
        notes = _copy_files(start)
        locks = _hold_locks(start, cleanup)
        try:
            _start_all(replace(start, locks=tuple(n for one in locks for n in one.names)), web)
        except StartFailed:
            if all(one.are_kept() for one in locks):
                raise
            return None
        return notes


def _start_all(start: GateStart, web: Command) -> None:
    """Run `release:` on the copies, and start each server until it is healthy."""
    config = start.config
    start = replace(start, has_files=_has_files(start))
    seconds = DeploySettings.read(config).start_seconds
    unit = app_instance.make_unit(config, start.release, start.spec, web, start.instance)
    if start.spec.release is not None:
        _run_release_command(start, start.spec.release, unit)
    _start_and_probe(start, web, unit, seconds)
    servers = app_instance.make_server_units(config, start.release, start.spec, start.instance)
    for server, server_unit in zip(start.spec.servers, servers, strict=True):
        _start_and_probe(start, server.command, server_unit, seconds)


def remove(config: Config, run_id: str) -> None:
    """Stop what the run's gate started, if it may still run, and delete its home. Idempotent.

    Raises Refused `gate_busy`.
    """
    home = home_folder(config, run_id)
    if not home.exists():
        return
    # It disappears if the run that is gated next removes it; what runs then is that one's.
    with _lock(config, lambda: not home.exists()) as is_taken:
        if home.exists():
            _require(is_taken)
            _remove(config, run_id)


def _lock(config: Config, stop: Callable[[], bool]) -> AbstractContextManager[bool]:
    path = config.var / "run" / "gate-start.lock"
    return file_lock(path, seconds=LOCK_SECONDS, stop=stop)


def _require(is_taken: bool) -> None:
    if not is_taken:
        raise Refused("gate_busy", "Another merge gate's release has not ended yet; try again.")


def _remove(config: Config, run_id: str) -> None:
    names = {app_instance.unit_name(GATE), *app_instance.list_units(config, GATE)}
    if not stop_together(managers.get_manager(config), names, GRACE_SECONDS):
        raise Refused("unit_busy", f"{', '.join(sorted(names))} do not stop.")
    ownership.delete_tree(storage_folder(config))
    # After the unit: the folder is what says that it may run.
    ownership.delete_tree(home_folder(config, run_id))


def _copy_files(start: GateStart) -> list[str]:
    """Make the home and the storage, with copies of production's files."""
    config, instance = start.config, start.instance
    instance.home.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    instance.home.mkdir(mode=0o700)
    ownership.give_tree(instance.home, config.app_user)
    names = start.spec.manifest.storage
    storage.make_targets(instance.storage, names, config.app_user)
    limit_mb = config.get_integer("MERGE_GATE_COPY_MB", COPY_MB)
    copy = FolderCopy(config.app_user, limit_mb, start.log, start.stop, start.job)
    notes = []
    for subject, source, target in _list_folders(start) if limit_mb else ():
        reason = copy.fill(source, target) if source.is_dir() else ""
        _raise_if_stopping(start)
        notes += [_describe_incomplete(subject, reason)] if reason else []
    return notes


def _list_folders(start: GateStart) -> list[tuple[str, Path, Path]]:
    """Return the name of each folder that is copied, production's, and the gate's."""
    config, instance = start.config, start.instance
    return [
        ("HOME", colours.ensure_home(config), instance.home),
        *(
            (f"the storage {name}", production_storage(config) / name, instance.storage / name)
            for name in start.spec.manifest.storage
        ),
    ]


def _hold_locks(start: GateStart, cleanup: ExitStack) -> list[HeldLocks]:
    """Hold on the copies what the live application has locked: it runs while production switches.

    Files, and the advisory locks of its database.
    """
    config = start.config
    uid = config.app_user.uid if config.app_user else os.getuid()
    held = [
        cleanup.enter_context(held_locks.hold_file_locks(source, target, uid, start.stop))
        for _, source, target in _list_folders(start)
        if source.is_dir()
    ]
    _raise_if_stopping(start)
    production = config.production_database
    locks = held_locks.hold_advisory_locks(
        DatabaseAdmin(config), production, production, guard.gate_name(start.run_id)
    )
    return [*held, cleanup.enter_context(locks)]


def _describe_incomplete(subject: str, reason: str) -> str:
    return (
        f"The merge gate started the release without all files of {subject}: production's "
        f"{reason} (MERGE_GATE_COPY_MB)."
    )


def _has_files(start: GateStart) -> bool:
    folders = [start.instance.home, *start.instance.storage.glob("*")]
    return any(next(folder.iterdir(), None) for folder in folders)


def _run_release_command(start: GateStart, command: Command, unit: Unit) -> None:
    """Run `release:` as a deployment does, on the gate's database, which is migrated already.

    In the sealed tree and with this home: what it writes elsewhere would fail in production too,
    and what it makes in its home the application finds there. Not repeated after a lock timeout:
    no other process uses the database.
    """
    config, name = start.config, guard.gate_name(start.run_id)
    seconds = lock_timeout.read_lock_timeout(config)
    try:
        with DatabaseAdmin(config).limit_lock_waits(name, name, seconds):
            run_command(
                command,
                config,
                root=source_folder(config, start.release.pk),
                bins=start.spec.bins,
                env=unit.env,
                log=start.log,
                user=unit.user,
                stop=start.stop,
                job=start.job,
            )
    except CommandFailed as failed:
        _raise_if_stopping(start)
        raise _explain(start, command, f"Its `release:` {failed.reason}.") from failed
    _raise_if_stopping(start)


def _start_and_probe(start: GateStart, command: Command, unit: Unit, seconds: float) -> None:
    manager = managers.get_manager(start.config)

    def start_and_wait() -> Health:
        start_unit(manager, unit, start.stop)
        health = wait_until_healthy(manager, unit, seconds, start.stop)
        if manager.status(unit.name).was_killed and not start.stop():
            raise UnitKilled("unit_crashed", f"{unit.name}: {health.reason}")
        return health

    try:
        health = start_again_if_killed(start_and_wait, partial(append_to_log, start.log))
    except Refused as refused:
        _raise_if_stopping(start)
        if refused.code != "unit_crashed":
            raise
        raise _explain(start, command, refused.detail) from refused
    _raise_if_stopping(start)
    if not health.ok:
        key = colours.describe_key(unit.env["OROBOROS_PROCESS"])
        raise _explain(start, command, describe_failed_start(health, unit, key=key))


def _raise_if_stopping(start: GateStart) -> None:
    if start.stop():
        raise DeploymentLost


def _explain(start: GateStart, command: Command, reason: str) -> StartFailed:
    """Return the failure: the differences that its output shows, the reason, and its message."""
    message = log_message.read_message(start.log)
    lines = log_message.strip_terminal_codes(safe_files.read_tail(start.log, LOG_LINES))
    found = find_differences(
        start.config, start.release, start.spec, start.instance, command, f"{reason}\n{lines}"
    )
    # The reason of a process that ended has the message already.
    output = f"It printed:\n{message}" if message and message not in reason else ""
    copied = [f"Its HOME ({start.instance.home}) and storage are copies of production's."]
    locked = [
        f"The live release has locked {', '.join(start.locks)}, as it will have while production "
        "switches to this one: both run then. Start to listen without such a lock."
    ]
    parts = [
        "The sealed release does not start in production's environment.",
        *found,
        *(copied if start.has_files else []),
        *(locked if start.locks else []),
        reason,
    ]
    return StartFailed("\n".join([*parts, output]).rstrip())
