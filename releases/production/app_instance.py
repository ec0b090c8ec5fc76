"""How production's application is started: its environment and its unit, for one instance of it.

Two instances differ in nothing but the fields of `Instance`: the two colours, and the start that
the merge gate makes before a commit is merged.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host.app import environment, planning
from host.app.environment import ResolvedEnvironment
from host.app.planning import BackgroundCommand, Command
from host.app.process_types import process_environment, servers
from host.app.resources import addons, storage
from host.config import Config, read_env_file
from host.files import safe_files
from host.masking.known_secrets import remember_secrets
from host.services import redis_server
from host.services.redis_server import RedisServer
from host.units import managers, stack_ports
from host.units.stack_ports import APP_PREFIX
from host.units.unit import HealthCheck, Unit
from releases.builds.build_folders import source_folder, storage_link
from releases.builds.launch_spec import LaunchSpec
from releases.models import Release


@dataclass(frozen=True)
class Instance:
    """One running copy of the application; it may write in `home` and `storage` only.

    `redis` is the name of its Redis server, if the application wants one.
    """

    name: str
    port: int
    database_url: str
    home: Path
    storage: Path
    server_ports: tuple[int, ...]
    redis: str = redis_server.PRODUCTION

    @property
    def unit_name(self) -> str:
        return unit_name(self.name)


def unit_name(instance_name: str) -> str:
    """Return the name of the unit of an instance's `web`."""
    return f"{APP_PREFIX}{instance_name}"


def server_unit_name(instance_name: str, server: BackgroundCommand) -> str:
    """Return the name of the unit of an instance's server beside `web`."""
    return stack_ports.name_server(APP_PREFIX, instance_name, server.port_index or 0)


def list_units(config: Config, instance_name: str) -> list[str]:
    """Return the units of an instance, `web` and others, that were started and not stopped."""
    names, web = managers.get_manager(config).list_names(), unit_name(instance_name)
    return [name for name in names if name == web or name.startswith(f"{web}.")]


def log_path(config: Config, instance_name: str) -> Path:
    """Return the log of the output of an instance's `web`."""
    return unit_log(config, unit_name(instance_name))


def unit_log(config: Config, unit: str) -> Path:
    """Return the log of a unit of production."""
    return config.var / "log" / f"{unit}.log"


def resolve_environment(
    config: Config, release: Release, spec: LaunchSpec, instance: Instance
) -> ResolvedEnvironment:
    """Return the complete environment of the release's processes in that instance.

    Its secrets are masked from now on.

    Raises Refused as `environment.build_environment`.
    """
    variables = environment.build_production_variables(
        config,
        port=instance.port,
        database_url=instance.database_url,
        release_id=release.pk,
        commit=release.commit_sha,
    )
    variables |= storage.build_variables(spec.manifest.storage, instance.storage)
    variables |= process_environment.build_addresses(
        servers.map_ports(spec.processes, instance.port, instance.server_ports)
    )
    if has_redis(config, spec, instance):
        url = RedisServer(config, instance.redis).read_url()
        variables |= addons.build_redis_variables(url)
    resolved = environment.build_environment(
        config,
        variables,
        spec.manifest,
        home=instance.home,
        bins=spec.bins,
        file=environment.PRODUCTION_FILE,
        purpose="production",
    )
    remember_secrets(config, "production", resolved)
    return resolved


def has_redis(config: Config, spec: LaunchSpec, instance: Instance) -> bool:
    """Return whether the instance has a server of ours: not if app.env names production's."""
    operators = read_env_file(config.env_dir / environment.PRODUCTION_FILE)
    is_operators = instance.redis == redis_server.PRODUCTION and "REDIS_URL" in operators
    return spec.manifest.redis and not is_operators


def start_redis(config: Config, spec: LaunchSpec, instance: Instance) -> None:
    """Start the instance's Redis server if it wants one and it does not run.

    Raises Refused as `RedisServer.ensure`.
    """
    if has_redis(config, spec, instance):
        RedisServer(config, instance.redis).ensure()


def link_storage(config: Config, release: Release, spec: LaunchSpec, instance: Instance) -> None:
    """Make the instance's missing storage, and have the release's files lead to it.

    May be repeated. A release runs as one instance at a time: in the merge gate, then as a colour.
    """
    if not spec.manifest.storage:
        return
    storage.make_targets(instance.storage, spec.manifest.storage, config.app_user)
    link = storage_link(config, release.pk)
    link.parent.mkdir(mode=0o711, exist_ok=True)
    target = os.path.relpath(instance.storage, link.parent)
    if not link.is_symlink() or str(link.readlink()) != target:
        safe_files.replace_link(target, link)


def build_health_check(config: Config, spec: LaunchSpec) -> HealthCheck:
    """Return the check: as visitors reach production, by its host name and scheme."""
    manifest = spec.manifest
    return HealthCheck(
        manifest.health_path, manifest.is_health_guess, config.app_host, config.is_https
    )


def make_server_units(
    config: Config, release: Release, spec: LaunchSpec, instance: Instance
) -> list[Unit]:
    """Return the units of the release's servers beside `web`, as that instance."""
    if not spec.servers:
        return []
    env = resolve_environment(config, release, spec, instance).env
    return [_make_server_unit(config, release, spec, instance, one, env) for one in spec.servers]


def _make_server_unit(
    config: Config,
    release: Release,
    spec: LaunchSpec,
    instance: Instance,
    server: BackgroundCommand,
    environment: Mapping[str, str],
) -> Unit:
    root, command = source_folder(config, release.pk), server.command
    port, name = instance.server_ports[server.port_index or 0], server.name
    env = process_environment.build_server_environment(environment, name, port)
    unit = server_unit_name(instance.name, server)
    check = HealthCheck.for_server(server.health_path, config.app_host, is_https=config.is_https)
    argv = planning.prepare_argv(command, config, root=root, bins=spec.bins, env=env)
    return Unit(
        name=unit,
        argv=tuple(argv),
        cwd=root / command.cwd,
        env=env,
        user=config.app_user,
        log=unit_log(config, unit),
        port=port,
        health=check,
        has_log_writer=True,
    )


def make_unit(
    config: Config, release: Release, spec: LaunchSpec, web: Command, instance: Instance
) -> Unit:
    """Return the unit that runs `web`, the release's backend, as that instance.

    Its storage and its Redis server are there for it when this returns.
    """
    start_redis(config, spec, instance)
    link_storage(config, release, spec, instance)
    root = source_folder(config, release.pk)
    env = process_environment.build_web_environment(
        resolve_environment(config, release, spec, instance).env
    )
    return Unit(
        name=instance.unit_name,
        argv=tuple(planning.prepare_argv(web, config, root=root, bins=spec.bins, env=env)),
        cwd=root / web.cwd,
        env=env,
        user=config.app_user,
        log=log_path(config, instance.name),
        port=instance.port,
        health=build_health_check(config, spec),
        has_log_writer=True,
    )
