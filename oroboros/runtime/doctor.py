"""Looks a host over: whether all that Oroboros needs is there and right, and what mends it."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from oroboros.errors import Refused
from oroboros.lib import jobs, process, units, web
from oroboros.lib.config import SYSTEM_ENV_DIR, Config
from oroboros.lib.hostuser import SERVICE
from oroboros.runtime import preflight, systemd

ASK_SECONDS = 20.0
CLOCK_SECONDS = 2.0
OLDEST_SYSTEMD = 252
OLDEST_POSTGRES = 150000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was seen, and what mends it where it is not right."""

    what: str
    ok: bool
    seen: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<24} {self.seen}"
        return line if self.ok else f"{line}\n      -> {self.mend}"


Look = Iterator[Finding]


def examine(config: Config) -> Look:
    """Yield what was found, in the order in which it is best mended."""
    parts: list[Callable[[Config], Look]] = [programs, room, clock]
    if config.is_systemd:
        parts += [users, installed, rights, secrets]
    else:
        parts += [boundary]
    for part in [*parts, databases, remote, ports, routes]:
        yield from part(config)


def programs(config: Config) -> Look:
    """Versions of what we stand on."""
    yield Finding("Python", True, sys.version.split()[0])
    for problem in preflight.programs():
        yield Finding("programs", False, problem.partition(":")[0], problem)
    if config.is_systemd:
        version = int(_first(r"\d+", _said("systemctl", "--version")) or 0)
        mend = f"systemd {OLDEST_SYSTEMD} or newer is needed: Debian 12 has it."
        yield Finding("systemd", version >= OLDEST_SYSTEMD, str(version), mend)


def room(config: Config) -> Look:
    """Disk."""
    problems = list(preflight.disk(config))
    yield Finding("disk", not problems, problems[0] if problems else "enough", "Make room there.")


def clock(config: Config) -> Look:
    """This host's clock against the database's, which decides."""
    try:
        with psycopg.connect(config.database_url, connect_timeout=5) as connection:
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()
    except psycopg.Error:
        return  # said below
    off = abs(time.time() - float(row[0])) if row else 0.0
    mend = "Let a time service set the clocks: timedatectl set-ntp true"
    yield Finding("clock", off < CLOCK_SECONDS, f"{off:.1f} s from the database's", mend)


def users(config: Config) -> Look:
    """The users of the units, and that the control plane is in their groups."""
    mine = os.getgrouplist(SERVICE, 0)
    for role in ["job", "app", *(slot.slot_id for slot in config.slots)]:
        user = jobs.known(role)
        is_in = user is not None and user.gid in mine
        seen = "there" if is_in else "missing, or the control plane is not in its group"
        mend = "./scripts/systemd-install-runtime.sh"
        yield Finding(f"user ouroboros-{role}", is_in, seen, mend)


def installed(config: Config) -> Look:
    """Units, rules and links as this checkout has them."""
    different = [step.what for step in systemd.plan(config) if not _is_so(step)]
    seen = f"differ: {', '.join(different)}" if different else "as in this checkout"
    mend = "./scripts/systemd-install-runtime.sh, then ./scripts/runtime-up.sh"
    yield Finding("installed files", not different, seen, mend)
    for name in systemd.enabled(config):
        state = _said("systemctl", "is-enabled", "--", name)
        if state != "enabled":
            yield Finding(name, False, state or "unknown", f"systemctl enable {name}")
        if _said("systemctl", "is-failed", "--", name) == "failed":
            yield Finding(name, False, "failed", f"journalctl -u {name}")


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
        may = process.capture(argv, timeout=ASK_SECONDS).exit_code == 0
        seen = "may be started and stopped" if may else "may not be started and stopped"
        mend = "./scripts/systemd-install-runtime.sh; polkit must run: apt-get install polkitd"
        yield Finding(unit, may is wanted, f"{seen} by {SERVICE}", mend)


def secrets(config: Config) -> Look:
    """That nobody but the control plane reads its secrets, and nobody else writes its code."""
    for name in systemd.SECRETS:
        path = SYSTEM_ENV_DIR / name
        is_there = path.exists()
        mode = path.stat().st_mode & 0o777 if is_there else 0
        is_right = is_there and mode == 0o600 and path.owner() == SERVICE
        seen = f"{mode:o}, of {path.owner()}" if is_there else "missing"
        mend = f"chown {SERVICE}: {path}; chmod 600 {path}" if is_there else "install again"
        yield Finding(str(path), is_right, seen, mend)
    is_open = bool(config.home.stat().st_mode & 0o022) or config.home.owner() != "root"
    yield Finding(
        str(config.home),
        not is_open,
        f"of {config.home.owner()}",
        f"chown -R root: {config.home} but not its var; chmod go-w {config.home}",
    )


def boundary(config: Config) -> Look:
    """Without systemd: as whom previews run."""
    is_walled = config.job_user is not None
    seen = "previews run as users of their own" if is_walled else "previews run as you"
    yield Finding("boundary", is_walled, seen, "Only branches you trust, or a host with systemd.")


def databases(config: Config) -> Look:
    """Whether the control plane's database answers, and what the admin's role may do."""
    yield from _reachable("database", config.database_url)
    yield from _reachable("previews' database", config.preview_admin_database_url)
    try:
        with psycopg.connect(config.preview_admin_database_url, connect_timeout=5) as connection:
            role = connection.execute(
                "SELECT rolcreatedb AND rolcreaterole, rolsuper FROM pg_roles"
                " WHERE rolname = current_user"
            ).fetchone()
            public = connection.execute(
                "SELECT datname FROM pg_database, aclexplode(coalesce(datacl,"
                " acldefault('d', datdba))) WHERE grantee = 0 AND privilege_type = 'CONNECT'"
                " AND datallowconn"
            ).fetchall()
    except psycopg.Error:
        return
    may, is_super = role or (False, False)
    seen = "makes databases and roles" if may else "lacks CREATEDB or CREATEROLE"
    is_right = bool(may) and not is_super
    mend = "ALTER ROLE … CREATEDB CREATEROLE NOSUPERUSER"
    yield Finding("admin's role", is_right, "is superuser" if is_super else seen, mend)
    names = ", ".join(sorted(name for (name,) in public))
    mend = f"REVOKE CONNECT ON DATABASE {names} FROM PUBLIC"
    yield Finding("closed databases", not names, f"open to all: {names}" if names else "all", mend)


def _reachable(what: str, url: str) -> Look:
    mend = "Look at the URL in the env files, and whether PostgreSQL runs."
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            version = connection.info.server_version
    except psycopg.Error as error:
        yield Finding(what, False, str(error).splitlines()[0], mend)
        return
    seen = f"PostgreSQL {version // 10000}"
    yield Finding(what, version >= OLDEST_POSTGRES, seen, "PostgreSQL 15 or newer is needed.")


def remote(config: Config) -> Look:
    """Whether the git remote answers."""
    url = config.git_remote_url
    mend = "Set GIT_REMOTE_URL and, for a path, GIT_LOCAL_ROOTS in worker.env; then try again."
    if not url:
        yield Finding("git remote", False, "not configured", mend)
        return
    env = {"PATH": os.defpath, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    argv = ["git", "ls-remote", "--heads", "--", url, config.target_branch]
    done = process.capture(argv, timeout=ASK_SECONDS, env=env)
    seen = f"has {config.target_branch}" if done.stdout else "does not answer"
    yield Finding("git remote", bool(done.stdout), seen, mend)


def ports(config: Config) -> Look:
    """Who holds each port: nobody, or our own unit alone."""
    manager = units.manager(config)
    for what, port, unit in preflight.port_table(config):
        if unit == "postgres":
            continue
        try:
            found = manager.status(unit, port)
        except Refused as refused:
            yield Finding(f"{port} {what}", False, refused.detail, "Install the units again.")
            continue
        seen = {"ours": "ours", "none": "closed"}.get(found.listening, f"held by {found.holder}")
        mend = f"Stop {found.holder or 'it'}; then ./scripts/runtime-up.sh"
        if found.listening == "none" and not unit.startswith("ouroboros-app"):
            yield Finding(f"{port} {what}", False, seen, "./scripts/runtime-up.sh")
        else:
            yield Finding(f"{port} {what}", found.listening != "foreign", seen, mend)


def routes(config: Config) -> Look:
    """What the router answers to our names, and to one that is nobody's."""
    names = ["app", *(f"preview{slot.number}" for slot in config.slots), "api"]
    expected = {f"{name}.{config.domain}": 200 for name in names}
    for host, status in {**expected, f"nobody.{config.domain}": 404}.items():
        try:
            seen = str(web.get(config.router_port, "/health", host=host).status)
        except (OSError, ValueError) as error:
            seen = str(error)
        mend = "./scripts/runtime-up.sh, and OROBOROS_DOMAIN in api.env before an installation"
        yield Finding(f"route {host}", seen == str(status), seen, mend)


def _said(*argv: str) -> str:
    return process.capture(argv, timeout=ASK_SECONDS).stdout.decode(errors="replace").strip()


def _first(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[0] if match else None
