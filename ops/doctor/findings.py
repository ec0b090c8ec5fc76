"""What the doctor says of what it saw: values in, findings out; a mend is what to do about it."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CLOCK_SECONDS = 2.0
OLDEST_SYSTEMD = 252
OLDEST_POSTGRES = 150000
UP = "./scripts/runtime-up.sh"
AGAIN = f"after a change ./scripts/runtime-down.sh, then {UP}"
INSTALL = "./scripts/systemd-install-runtime.sh"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was seen, and what mends it where it is not right."""

    what: str
    ok: bool
    seen: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<32} {self.seen}"
        return line if self.ok else f"{line}\n      -> {self.mend}"


def systemd(version: int) -> Finding:
    """Judge the version of systemd; 0: there is none."""
    mend = f"systemd {OLDEST_SYSTEMD} or newer is needed: Debian 12 has it."
    return Finding("systemd", version >= OLDEST_SYSTEMD, str(version), mend)


def npm(place: str | None) -> Finding:
    """Say whether npm is here: only applications with a package.json need it."""
    without = "none: for applications with a package.json install nodejs and npm"
    return Finding("npm", True, place or without)


def disk(place: str, free_mb: int, floor_mb: int) -> Finding:
    """Judge what is free where everything is written; below the floor no slot is granted."""
    mend = f"Make room there, or keep fewer releases (RELEASES_KEEP): see du -sh {place}/*"
    seen = f"{free_mb} MB free in {place}, the floor is {floor_mb}"
    return Finding("disk", free_mb >= floor_mb, seen, mend)


def memory(free_mb: int, floor_mb: int) -> Finding:
    """Judge the memory that is available; below the floor no slot is granted."""
    mend = (
        "Stop what takes it (ps -eo rss,user,args --sort -rss), or lower ADMISSION_FREE_MEMORY_MB."
    )
    seen = f"{free_mb} MB available, the floor is {floor_mb}"
    return Finding("memory", free_mb >= floor_mb, seen, mend)


def clock(seconds_off: float) -> Finding:
    """Judge how far this host's clock is from the database's, which decides."""
    mend = "Let a time service set the clocks: timedatectl set-ntp true"
    seen = f"{seconds_off:.1f} s from the database's"
    return Finding("clock", seconds_off < CLOCK_SECONDS, seen, mend)


def user(name: str, is_in: bool) -> Finding:
    """Judge a user of the units, who is to be there and have the control plane in its group."""
    seen = "there" if is_in else "missing, or the control plane is not in its group"
    return Finding(f"user {name}", is_in, seen, f"{INSTALL}, then {UP}")


def installed(different: Sequence[str]) -> Finding:
    """Judge the files that the installation made, by those that are not as in the checkout."""
    seen = f"differ: {', '.join(different)}" if different else "as in this checkout"
    return Finding("installed files", not different, seen, f"{INSTALL}, then {UP}")


def unit(name: str, enabled: str, is_failed: bool) -> Finding:
    """Judge an installed unit by what `is-enabled` says of it, and whether it failed."""
    if enabled != "enabled":
        return Finding(name, False, enabled or "unknown", f"systemctl enable {name}")
    seen = "failed" if is_failed else "enabled"
    return Finding(name, not is_failed, seen, f"journalctl -n 50 -u {name}")


def right(unit: str, may: bool, wanted: bool) -> Finding:
    """Judge whether the control plane may start and stop that unit, and whether it should."""
    seen = "may be started and stopped" if may else "may not be started and stopped"
    mend = f"{INSTALL}; polkit must run: apt-get install polkitd"
    return Finding(f"right {unit}", may is wanted, f"{seen} by the control plane", mend)


def secret(path: str, mode: int | None, owner: str, wanted: str) -> Finding:
    """Judge a file of secrets: `mode` is None where it is missing, `wanted` is to own it."""
    if mode is None:
        return Finding(path, False, "missing", "Run what made it again; it keeps all others.")
    is_right = stat.S_IMODE(mode) == 0o600 and owner == wanted
    mend = f"chown {wanted}: {path}; chmod 600 {path}"
    return Finding(path, is_right, f"{stat.S_IMODE(mode):o}, of {owner}", mend)


def checkout(path: str, mode: int, owner: str, wanted: str) -> Finding:
    """Judge the checkout's folder: whoever may write it is the control plane."""
    is_closed = not mode & 0o022 and owner == wanted
    mend = f"chown {wanted}: {path}; chmod go-w {path}"
    return Finding(path, is_closed, f"{stat.S_IMODE(mode):o}, of {owner}", mend)


def boundary(is_walled: bool) -> Finding:
    """Say as whom previews run without systemd: a fact about the host, not a fault."""
    alone = "none: previews run as you, so only branches you trust"
    seen = "previews run as users of their own" if is_walled else alone
    return Finding("boundary", True, seen)


def server(what: str, version: int) -> Finding:
    """Judge PostgreSQL's version, as the server says it."""
    seen = f"PostgreSQL {version // 10000}"
    return Finding(what, version >= OLDEST_POSTGRES, seen, "PostgreSQL 15 or newer is needed.")


def unreachable(what: str, error: str) -> Finding:
    """Say that a database does not answer."""
    mend = f"{UP}; does PostgreSQL run, and is its URL in the env files right?"
    return Finding(what, False, (error.splitlines() or ["no answer"])[0], mend)


def admin_role(name: str, may_create: bool, is_super: bool) -> Finding:
    """Judge what the role may do that makes the slots' databases and roles."""
    seen = "makes databases and roles" if may_create else "lacks CREATEDB or CREATEROLE"
    mend = f"ALTER ROLE {name} CREATEDB CREATEROLE NOSUPERUSER"
    is_right = may_create and not is_super
    return Finding("admin's role", is_right, "is superuser" if is_super else seen, mend)


def open_databases(names: Sequence[str]) -> Finding:
    """Judge the databases to which every role may connect, previews' roles too: none should."""
    listed = ", ".join(sorted(names))
    mend = f"REVOKE CONNECT ON DATABASE {listed} FROM PUBLIC"
    seen = f"open to all: {listed}" if names else "all"
    return Finding("closed databases", not names, seen, mend)


def remote(url: str, branch: str, has_branch: bool, said: str) -> Finding:
    """Judge git's answer about the remote's branch; `said` are its words where it has none."""
    if not url:
        mend = f"Set GIT_REMOTE_URL and, for a path, GIT_LOCAL_ROOTS in worker.env; {AGAIN}"
        return Finding("git remote", False, "not configured", mend)
    silent = said or f"has no branch {branch}"
    mend = f"Look at GIT_REMOTE_URL in worker.env, and whether we may read it; {AGAIN}"
    return Finding("git remote", has_branch, f"has {branch}" if has_branch else silent, mend)


def shipping(problem: str) -> Finding:
    """Judge the settings of push, hooks and health gate by what is wrong with them, if anything."""
    mend = f"Correct that setting in worker.env (.env.example says what it may be); {AGAIN}"
    return Finding("shipping's settings", not problem, problem or "can be read", mend)


def service(name: str, ok: bool, said: str, stopped_slot: str | None) -> Finding:
    """Judge a row of the startup matrix; `stopped_slot` is the slot it is, if stopped by hand."""
    if stopped_slot is not None:
        mend = f"./scripts/preview-backend-runtime.sh start --slot {stopped_slot}"
        return Finding(name, False, "stopped by hand", mend)
    mend = f"{UP}; if it stays so ./scripts/runtime-down.sh, then {UP}"
    return Finding(name, ok, (said.splitlines() or [""])[0], mend)


def port(what: str, number: int, listening: str, holder: str) -> Finding:
    """Judge who holds a port: nobody, or our own unit alone."""
    seen = {"ours": "ours", "none": "closed"}.get(listening, f"held by {holder}")
    mend = f"Stop {holder or 'what holds it'}; then {UP}"
    return Finding(f"port {number} {what}", listening != "foreign", seen, mend)


def routes(answers: Mapping[str, str], wanted: Mapping[str, int]) -> list[Finding]:
    """Judge what the router answered to each host name."""
    mend = f"{UP}; OROBOROS_DOMAIN in api.env is the domain, after a change of it {INSTALL}"
    return [
        Finding(f"route {host}", answers[host] == str(status), answers[host], mend)
        for host, status in wanted.items()
    ]
