"""Checks this host; each function yields a finding for each thing that it checks."""

import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from host import http_client
from host.app import installs
from host.app.resources import mail
from host.capacity import read_available_memory_mb, read_free_disk_mb
from host.config import CONTROL_FILES, Config, read_env_file
from host.disk import space
from host.disk.space import Place
from host.env_file_access import describe_repair, find_user_name, read_mode_and_owner
from host.errors import Refused
from host.files import var_folders
from host.operator_settings import run_time
from host.process import private_tmp, runner
from host.units import managers
from host.units.listeners import find_open_addresses
from host.units.stack_ports import POSTGRES, list_ports
from ops import env_files, preflight, stack, systemd
from ops.doctor import (
    findings,
    forge_checks,
    git_checks,
    public_checks,
    secret_files,
    sign_in_checks,
)
from ops.doctor.findings import Finding
from ops.installed import secret_env_files
from ops.installed.stale_units import describe_stale, find_stale_units
from ops.preconditions.migrations import find_missing_migrations
from ops.preconditions.shell_settings import find_unknown_names, list_shell_settings
from releases.builds.build_folders import production_storage
from slots.runtime import backend_log, surface

COMMAND_SECONDS = 20.0
APPLICATION_UNITS = ("ouroboros-preview@", "ouroboros-app@")
CONNECT_SECONDS = 5
MAX_STORAGE_MB = 1 << 40  # the counting never ends early
# A database without an ACL has the default one, by which PUBLIC may connect. Grantee 0 is PUBLIC.
OPEN_DATABASES_QUERY = (
    "SELECT datname FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
    " WHERE grantee = 0 AND privilege_type = 'CONNECT' AND datallowconn"
)
# As `ApiToken.objects.expiring()`: the doctor also runs where Django does not start.
EXPIRING_TOKENS_QUERY = (
    "SELECT name, ceil(extract(epoch FROM expires_at - clock_timestamp()) / 86400)::int"
    " FROM accounts_apitoken WHERE revoked_at IS NULL AND expires_at > clock_timestamp()"
    " AND expires_at <= clock_timestamp() + interval '14 days' ORDER BY expires_at"
)
OWN_ROLE_QUERY = (
    "SELECT current_user, rolcreatedb AND rolcreaterole, rolsuper FROM pg_roles"
    " WHERE rolname = current_user"
)


@dataclass(frozen=True)
class MinimumFree:
    """What must stay free on the host, in MiB; below it no slot is granted."""

    memory_mb: int
    disk_mb: int


Findings = Iterator[Finding]


def run_checks(
    config: Config,
    minimum: MinimumFree,
    check_shipping: Callable[[Config], None],
    describe_last_delivery: Callable[[], str],
) -> Findings:
    """Yield all findings, in the order in which faults are best repaired.

    `check_shipping` reads the settings of shipping, and raises Refused if one is wrong;
    `describe_last_delivery` says when a webhook of the forge came last, "" if none has come.
    """
    yield from check_programs(config)
    yield from check_log_paths(config)
    yield from check_capacity(config, minimum)
    yield from check_clock(config)
    if config.is_systemd:
        yield from check_users(config)
        yield from check_installed_files(config)
        yield from check_rights(config)
        yield findings.judge_stale_units(describe_stale(find_stale_units(config)))
    else:
        yield from check_isolation(config)
    yield from check_env_values(config)
    yield from check_names(config)
    for check in (
        check_secrets,
        check_shell_settings,
        check_run_time_settings,
        check_databases,
        check_tokens,
        secret_files.check_files,
        git_checks.check_credentials,
        git_checks.check_remote,
        git_checks.check_push_access,
    ):
        yield from check(config)
    yield check_shipping_settings(config, check_shipping)
    yield from forge_checks.check_forge(config, describe_last_delivery)
    yield from sign_in_checks.check_sign_in(config)
    yield findings.judge_var(var_folders.list_unknown_names(config))
    yield from check_storage(config)
    for check in (
        check_ports,
        check_services,
        check_mail,
        check_routes,
        public_checks.check_public,
    ):
        yield from check(config)


def check_programs(config: Config) -> Findings:
    """Check the programs and versions that Oroboros needs."""
    yield Finding("Python", True, sys.version.split()[0])
    problems = list(preflight.check_programs())
    for problem in problems:
        yield Finding("programs", False, problem.partition(":")[0], problem)
    if not problems:
        yield Finding("programs", True, "git, setpriv and a way to install uv")
    caddy = surface.build_command(config)[0]
    yield findings.judge_caddy(caddy, os.access(caddy, os.X_OK))
    # In the folders in which an install looks for it, not in those of the caller's PATH.
    yield findings.judge_npm(shutil.which("npm", path=installs.SYSTEM_PATH))
    if config.is_systemd:
        match = re.search(r"\d+", _read_output("systemctl", "--version"))
        yield findings.judge_systemd(int(match[0]) if match else 0)


def check_log_paths(config: Config) -> Findings:
    """Check that the runbook's paths of the slots' logs exist."""
    folder = backend_log.links_folder(config)
    logs = [str(folder / f"{slot.slot_id}.log") for slot in config.slots]
    yield findings.judge_log_folder([path for path in logs if not os.path.lexists(path)])


def check_capacity(config: Config, minimum: MinimumFree) -> Findings:
    """Check free disk space and memory, measured as before a slot is granted."""
    folder = preflight.find_existing_folder(config.var)
    yield findings.judge_disk(str(folder), read_free_disk_mb(folder), minimum.disk_mb)
    yield findings.judge_memory(read_available_memory_mb(), minimum.memory_mb)


def check_clock(config: Config) -> Findings:
    """Compare this host's clock with the database's, which decides all deadlines."""
    try:
        with _connect(config.database_url) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    except psycopg.Error:
        return  # check_databases reports it
    if row is not None:
        yield findings.judge_clock(abs(time.time() - float(row[0])))


def check_users(config: Config) -> Findings:
    """Check that the units' users exist and that the control plane is in their groups."""
    for role in systemd.list_roles(config):
        yield findings.judge_user(f"ouroboros-{role}", systemd.is_role_ready(role))


def check_installed_files(config: Config) -> Findings:
    """Check that the installed files are those of this checkout, and the units enabled."""
    yield findings.judge_installed_files(
        [step.description for step in systemd.plan_steps(config) if not _is_done(step)]
    )
    for name in systemd.list_enabled_units(config):
        state = _read_output("systemctl", "is-enabled", "--", name)
        finding = findings.judge_unit(
            name, state, _read_output("systemctl", "is-failed", "--", name) == "failed"
        )
        if not finding.is_ok:
            yield finding
        elif name.endswith(".timer"):
            yield findings.judge_timer(name, _read_output("systemctl", "is-active", "--", name))


def _is_done(step: systemd.InstallStep) -> bool:
    try:
        return step.is_done()
    except PermissionError:  # only root and polkitd read polkit's rules: check_rights tries them
        return True


def check_rights(config: Config) -> Findings:
    """Check that the control plane may start and stop its own units, and no others."""
    # reset-failed needs the same permission as start and stop, and has no effect.
    own_unit = f"ouroboros-preview@{config.slots[0].slot_id}.service"
    for unit, is_wanted in ((own_unit, True), ("ouroboros-api.service", False)):
        argv = ["systemctl", "--no-ask-password", "reset-failed", "--", unit]
        is_allowed = runner.capture(argv, timeout=COMMAND_SECONDS).exit_code == 0
        yield findings.judge_right(unit, is_allowed, is_wanted)


def check_isolation(config: Config) -> Findings:
    """Report what separates previews from the host and from each other without systemd."""
    yield findings.judge_isolation(config.job_user is not None)
    works = config.is_root and private_tmp.is_allowed(config.private_folders)
    yield findings.judge_private_folders(config.is_root, works)


def check_secrets(config: Config) -> Findings:
    """Check that only the control plane reads its secrets, and only root writes its code."""
    user = find_user_name(os.geteuid())
    for name in secret_env_files.ALL_NAMES:
        path = config.env_dir / name
        mode, owner = read_mode_and_owner(path)
        yield findings.judge_secret(str(path), mode, owner, user, describe_repair(path, user))
    if config.is_systemd:
        mode, owner = read_mode_and_owner(config.home)
        yield findings.judge_checkout(str(config.home), mode or 0, owner, "root")


def check_env_values(config: Config) -> Findings:
    """Report values of the env files that may be read otherwise than their author expects."""
    yield findings.report_env_values(str(config.env_dir), env_files.describe_values(config.env_dir))


def check_names(config: Config) -> Findings:
    """Report names in the control plane's env files that are like a setting's, and others."""
    for name in CONTROL_FILES:
        path = config.env_dir / name
        with suppress(Refused, OSError):  # refused where it is used
            yield findings.judge_names(str(path), find_unknown_names(read_env_file(path)))


def check_shell_settings(config: Config) -> Findings:
    """Report settings that count for this shell only."""
    yield findings.report_shell_settings(list_shell_settings(config, os.environ))


def check_run_time_settings(config: Config) -> Findings:
    """Report the settings that operators changed at run time."""
    try:
        stored, in_effect = run_time.read_stored(config), run_time.read_in_effect(config)
    except Refused as refused:
        path = run_time.stored_path(config)
        yield Finding("settings at run time", False, refused.detail, f"Correct or remove {path}")
        return
    yield findings.report_run_time_settings(in_effect, sorted(stored.keys() - in_effect.keys()))


def check_databases(config: Config) -> Findings:
    """Check that the databases answer, the rights of the admin's role, and who may connect."""
    yield from _check_connection("database", config.database_url)
    yield from _check_connection("previews' database", config.preview_admin_database_url)
    with suppress(psycopg.Error):  # reported above
        yield findings.judge_migrations(find_missing_migrations(config))
    try:
        with _connect(config.preview_admin_database_url) as connection:
            role = connection.execute(OWN_ROLE_QUERY).fetchone()
            open_databases = [name for (name,) in connection.execute(OPEN_DATABASES_QUERY)]
    except psycopg.Error:
        return  # reported above
    yield findings.judge_admin_role(*(role or ("the role", False, False)))
    yield findings.judge_open_databases(open_databases)


def _check_connection(subject: str, url: str) -> Findings:
    try:
        with _connect(url) as connection:
            yield findings.judge_server(subject, connection.info.server_version)
    except psycopg.Error as error:
        yield findings.report_unreachable(subject, str(error))


def _connect(url: str) -> psycopg.Connection[tuple]:
    return psycopg.connect(url, connect_timeout=CONNECT_SECONDS)


def check_tokens(config: Config) -> Findings:
    """Report the API tokens that expire soon."""
    try:
        with _connect(config.database_url) as connection:
            rows = connection.execute(EXPIRING_TOKENS_QUERY).fetchall()
    except psycopg.Error:
        return  # check_databases reports it; before the first migration there is no table
    yield findings.report_tokens([(name, days) for name, days in rows])


def check_shipping_settings(config: Config, check: Callable[[Config], None]) -> Finding:
    """Check the settings of shipping with the function that the candidate step calls."""
    try:
        check(config)
    except Refused as refused:
        return findings.judge_shipping_settings(refused.detail)
    return findings.judge_shipping_settings("")


def check_storage(config: Config) -> Findings:
    """Report how large production's storage is; no quota limits it."""
    root = production_storage(config)
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        size_mb = space.measure([Place(folder)], MAX_STORAGE_MB).mb
        yield findings.report_storage(str(folder), size_mb, read_free_disk_mb(folder))


def check_mail(config: Config) -> Findings:
    """Check that the mail sink answers on each of its ports."""
    ports = {slot.slot_id: slot.mail_port for slot in config.slots} | {"jobs": config.discard_port}
    silent = [f"{port} ({name})" for name, port in ports.items() if not _is_mail_sink(port)]
    yield findings.judge_mail_sink(silent)


def _is_mail_sink(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), CONNECT_SECONDS) as link:
            return mail.BANNER.encode() in link.recv(200)
    except OSError:
        return False


def check_ports(config: Config) -> Findings:
    """Check that no foreign process listens on a port of the stack."""
    manager = managers.get_manager(config)
    for purpose, port, unit in list_ports(config):
        if unit == POSTGRES:
            yield from _check_postgres_port(config, port)
            continue
        try:
            status = manager.status(unit, port)
        except Refused as refused:
            yield Finding(f"port {port} {purpose}", False, refused.detail, findings.INSTALL_COMMAND)
            continue
        yield findings.judge_port(purpose, port, status.listening, status.port_holder)
        if status.listening == "ours" and unit.startswith(APPLICATION_UNITS):
            addresses = find_open_addresses(manager.list_listeners(unit))
            yield findings.judge_exposure(unit, addresses)


def _check_postgres_port(config: Config, port: int) -> Findings:
    """Check the embedded cluster's port; an external server's is not ours to judge."""
    pids, own = preflight.find_listener_pids(port), preflight.read_postmaster_pid(config)
    if own and pids:
        is_alone = pids == {own}
        holder = "" if is_alone else preflight.describe_listener(port, own)
        yield findings.judge_port("PostgreSQL", port, "ours" if is_alone else "foreign", holder)


def check_services(config: Config) -> Findings:
    """Check every row of the startup matrix."""
    for row in stack.check_health(config):
        yield findings.judge_service(
            row.name, row.is_ok, row.reason, stack.find_stopped_slot(config, row)
        )


def check_routes(config: Config) -> Findings:
    """Check the router's answer to each host name of the domain, and to an unknown one."""
    names = ["app", *(f"preview{slot.number}" for slot in config.slots), "api"]
    expected = {f"{name}.{config.domain}": 200 for name in names}
    expected[f"unknown.{config.domain}"] = 404
    answers = {host: _probe_route(config, host) for host in expected}
    # The router itself answers 404, 502 or 504. A 503 comes from a surface that cannot do its job:
    # the route works, and `check_services` says what the surface lacks.
    reached = {host: 503 for host, answer in answers.items() if answer == "503"}
    yield from findings.judge_routes(answers, expected | reached)


def _probe_route(config: Config, host: str) -> str:
    try:
        return str(http_client.get(config.router_port, "/health", host=host).status)
    except (OSError, ValueError) as error:
        return str(error)


def _read_output(*argv: str) -> str:
    return runner.capture(argv, timeout=COMMAND_SECONDS).stdout.decode(errors="replace").strip()
