"""Looks a host over: whether all that Oroboros needs is there and right, and what mends it."""

import os
import pwd
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from host import http_client
from host.app import installs
from host.config import Config
from host.errors import Refused
from host.git.bare_repository import Repository
from host.process import runner
from host.units import managers
from ops import preflight, stack, systemd
from ops.doctor import findings
from ops.doctor.findings import Finding

ASK_SECONDS = 20.0
CONNECT_SECONDS = 5
MEBIBYTE = 1024 * 1024
OPEN_DATABASES = (
    "SELECT datname FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))"
    " WHERE grantee = 0 AND privilege_type = 'CONNECT' AND datallowconn"
)
ROLE = "SELECT current_user, rolcreatedb AND rolcreaterole, rolsuper FROM pg_roles"
MINE = f"{ROLE} WHERE rolname = current_user"


@dataclass(frozen=True)
class Floors:
    """What must stay free on the host, in MiB; below it no slot is granted."""

    memory_mb: int
    disk_mb: int


Look = Iterator[Finding]


def examine(config: Config, floors: Floors, check_shipping: Callable[[Config], None]) -> Look:
    """Yield what was found, in the order in which it is best mended.

    `check_shipping` reads what shipping is configured with, and raises Refused.
    """
    yield from programs(config)
    yield from room(config, floors)
    parts: list[Callable[[Config], Look]] = [clock]
    parts += [users, installed, rights] if config.is_systemd else [boundary]
    for part in [*parts, secrets, databases, remote]:
        yield from part(config)
    yield shipping(config, check_shipping)
    for part in [ports, services, routes]:
        yield from part(config)


def programs(config: Config) -> Look:
    """Versions of what we stand on."""
    yield Finding("Python", True, sys.version.split()[0])
    problems = list(preflight.programs())
    for problem in problems:
        yield Finding("programs", False, problem.partition(":")[0], problem)
    if not problems:
        yield Finding("programs", True, "git, setpriv and what brings uv")
    yield findings.npm(shutil.which("npm", path=installs.SEARCH))
    if config.is_systemd:
        match = re.search(r"\d+", _said("systemctl", "--version"))
        yield findings.systemd(int(match[0]) if match else 0)


def room(config: Config, floors: Floors) -> Look:
    """Disk and memory, measured as they are before a slot is granted."""
    place = preflight.nearest(config.var)
    free = shutil.disk_usage(place).free // MEBIBYTE
    yield findings.disk(str(place), free, floors.disk_mb)
    yield findings.memory(psutil.virtual_memory().available // MEBIBYTE, floors.memory_mb)


def clock(config: Config) -> Look:
    """This host's clock against the database's, which decides."""
    try:
        with _connected(config.database_url) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    except psycopg.Error:
        return  # said below
    if row is not None:
        yield findings.clock(abs(time.time() - float(row[0])))


def users(config: Config) -> Look:
    """The users of the units, and that the control plane is in their groups."""
    for role in systemd.roles(config):
        yield findings.user(f"ouroboros-{role}", systemd.is_known(role))


def installed(config: Config) -> Look:
    """Units, rules and links as this checkout has them."""
    yield findings.installed([step.what for step in systemd.plan(config) if not _is_so(step)])
    for name in systemd.enabled(config):
        state = _said("systemctl", "is-enabled", "--", name)
        finding = findings.unit(
            name, state, _said("systemctl", "is-failed", "--", name) == "failed"
        )
        if not finding.ok:
            yield finding


def _is_so(step: systemd.Step) -> bool:
    try:
        return step.is_so()
    except PermissionError:  # polkit shows its rules to nobody: `rights` tries them
        return True


def rights(config: Config) -> Look:
    """What the control plane may ask of systemd: what is ours, and nothing else."""
    ours = f"ouroboros-preview@{config.slots[0].slot_id}.service"
    for unit, wanted in ((ours, True), ("ouroboros-api.service", False)):
        argv = ["systemctl", "--no-ask-password", "reset-failed", "--", unit]
        may = runner.capture(argv, timeout=ASK_SECONDS).exit_code == 0
        yield findings.right(unit, may, wanted)


def boundary(config: Config) -> Look:
    """Without systemd: as whom previews run."""
    yield findings.boundary(config.job_user is not None)


def secrets(config: Config) -> Look:
    """That nobody but the control plane reads its secrets, and nobody else writes its code."""
    me = _owner(os.geteuid())
    for name in systemd.SECRETS:
        path = config.env_dir / name
        mode, owner = _mode(path)
        yield findings.secret(str(path), mode, owner, me)
    if config.is_systemd:
        mode, owner = _mode(config.home)
        yield findings.checkout(str(config.home), mode or 0, owner, "root")


def _mode(path: Path) -> tuple[int | None, str]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None, ""
    return found.st_mode, _owner(found.st_uid)


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def databases(config: Config) -> Look:
    """Whether the control plane's database answers, and what the admin's role may do."""
    yield from _reachable("database", config.database_url)
    yield from _reachable("previews' database", config.preview_admin_database_url)
    try:
        with _connected(config.preview_admin_database_url) as connection:
            role = connection.execute(MINE).fetchone()
            public = [name for (name,) in connection.execute(OPEN_DATABASES)]
    except psycopg.Error:
        return
    yield findings.admin_role(*(role or ("the role", False, False)))
    yield findings.open_databases(public)


def _reachable(what: str, url: str) -> Look:
    try:
        with _connected(url) as connection:
            yield findings.server(what, connection.info.server_version)
    except psycopg.Error as error:
        yield findings.unreachable(what, str(error))


def _connected(url: str) -> psycopg.Connection[tuple]:
    return psycopg.connect(url, connect_timeout=CONNECT_SECONDS)


def remote(config: Config) -> Look:
    """Whether the git remote answers, asked as shipping asks it."""
    url, branch = config.git_remote_url, config.target_branch
    repository = Repository(config.var / "repo.git", config)
    said, head = "", None
    if url:
        try:
            repository.ensure()
            head = repository.remote_head(url, branch, timeout=ASK_SECONDS)
        except Refused as refused:
            said = refused.detail
    yield findings.remote(url, branch, head is not None, said)


def shipping(config: Config, check: Callable[[Config], None]) -> Finding:
    """What shipping is configured with, read as the candidate step reads it."""
    try:
        check(config)
    except Refused as refused:
        return findings.shipping(refused.detail)
    return findings.shipping("")


def ports(config: Config) -> Look:
    """Who holds each port: nobody, or our own unit alone."""
    manager = managers.manager(config)
    for what, port, unit in preflight.port_table(config):
        if unit == "postgres":
            continue
        try:
            found = manager.status(unit, port)
        except Refused as refused:
            yield Finding(f"port {port} {what}", False, refused.detail, findings.INSTALL)
            continue
        yield findings.port(what, port, found.listening, found.holder)


def services(config: Config) -> Look:
    """Whether what runs does its job: the rows of the startup matrix."""
    for row in stack.health(config):
        yield findings.service(row.name, row.ok, row.said, stack.stopped_slot(config, row))


def routes(config: Config) -> Look:
    """What the router answers to our names, and to one that is nobody's."""
    names = ["app", *(f"preview{slot.number}" for slot in config.slots), "api"]
    wanted = {f"{name}.{config.domain}": 200 for name in names} | {f"nobody.{config.domain}": 404}
    yield from findings.routes({host: _answer(config, host) for host in wanted}, wanted)


def _answer(config: Config, host: str) -> str:
    try:
        return str(http_client.get(config.router_port, "/health", host=host).status)
    except (OSError, ValueError) as error:
        return str(error)


def _said(*argv: str) -> str:
    return runner.capture(argv, timeout=ASK_SECONDS).stdout.decode(errors="replace").strip()
