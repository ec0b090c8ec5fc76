"""Turns what the doctor observed into findings: pure functions, with a remedy for each fault."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# Deadlines are the database's: a clock that is off only makes logs hard to compare.
CLOCK_SECONDS = 2.0
OLDEST_SYSTEMD = 252  # what the units use was complete with Debian 12's
OLDEST_POSTGRES = 150000
START_COMMAND = "./scripts/runtime-up.sh"
APPLY_COMMAND = "./scripts/apply-settings.sh"
RESTART_COMMANDS = f"after a change {APPLY_COMMAND}"
INSTALL_COMMAND = "./scripts/systemd-install-runtime.sh"
REPAIR = f"On a host with systemd {INSTALL_COMMAND}, else ./scripts/quickstart.sh"


@dataclass(frozen=True)
class Finding:
    """One checked thing: what was observed, and if it is not right, what to do."""

    subject: str
    is_ok: bool
    observed: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{'ok  ' if self.is_ok else 'FAIL'}  {self.subject:<32} {self.observed}"
        return line if self.is_ok else f"{line}\n      -> {self.remedy}"


def judge_systemd(version: int) -> Finding:
    """Judge the version of systemd; 0 if there is none."""
    remedy = f"systemd {OLDEST_SYSTEMD} or newer is needed: Debian 12 has it."
    return Finding("systemd", version >= OLDEST_SYSTEMD, str(version), remedy)


def judge_var(unknown: Sequence[str]) -> Finding:
    """Report the names under `var` that are not of Oroboros. It neither uses nor deletes them."""
    if not unknown:
        return Finding("files in var", True, "all are of Oroboros")
    names = ", ".join(map(ascii, unknown))
    return Finding("files in var", True, f"not of Oroboros, and never deleted by it: {names}")


def report_storage(folder: str, size_mb: int, free_mb: int) -> Finding:
    """Report the size of one storage of production. Its files are the application's own affair."""
    return Finding("storage", True, f"{size_mb} MB in {folder}, {free_mb} MB free there")


def judge_mail_sink(silent: Sequence[str]) -> Finding:
    """Judge the previews' mail sink by the ports on which it does not answer."""
    remedy = (
        "Another process may listen there (ss -ltnp); the log var/log/mail.log says so. Without it "
        f"previews cannot send mail. {START_COMMAND}"
    )
    observed = f"silent: {', '.join(silent)}" if silent else "answers on all its ports"
    return Finding("mail sink", not silent, observed, remedy)


def report_tokens(expiring: Sequence[tuple[str, int]]) -> Finding:
    """Report the tokens that expire soon, each with the days until then: a warning, no fault."""
    if not expiring:
        return Finding("API tokens", True, "none expires within 14 days")
    ends = ", ".join(f"{name} within {days} day{'s' * (days != 1)}" for name, days in expiring)
    command = ".venv/bin/python manage.py rotate_token <name>"
    return Finding("API tokens", True, f"expiring: {ends}. A new secret: {command}")


def report_run_time_settings(in_effect: Mapping[str, str], unused: Sequence[str]) -> Finding:
    """Report what operators changed at run time; `unused` are names that an env file sets too."""
    changed = ", ".join(f"{name}={value}" for name, value in in_effect.items())
    observed = changed or "none was changed"
    if unused:
        observed += f"; without effect, since an env file wins: {', '.join(unused)}"
    return Finding("settings at run time", True, observed)


def judge_npm(path: str | None) -> Finding:
    """Report whether npm is installed: only applications with a package.json need it."""
    missing = "none: for applications with a package.json install nodejs and npm"
    return Finding("npm", True, path or missing)


def judge_disk(folder: str, free_mb: int, floor_mb: int) -> Finding:
    """Judge the free disk space; below the floor no slot is granted."""
    remedy = f"Free space there, or keep fewer releases (RELEASES_KEEP): see du -sh {folder}/*"
    observed = f"{free_mb} MB free in {folder}, the floor is {floor_mb}"
    return Finding("disk", free_mb >= floor_mb, observed, remedy)


def judge_memory(free_mb: int, floor_mb: int) -> Finding:
    """Judge the available memory; below the floor no slot is granted."""
    remedy = (
        "Stop what uses most (ps -eo rss,user,args --sort -rss), or lower ADMISSION_FREE_MEMORY_MB."
    )
    observed = f"{free_mb} MB available, the floor is {floor_mb}"
    return Finding("memory", free_mb >= floor_mb, observed, remedy)


def judge_clock(seconds_off: float) -> Finding:
    """Judge how far this host's clock is from the database's, which decides all deadlines."""
    remedy = "Let a time service set the clocks: timedatectl set-ntp true"
    observed = f"{seconds_off:.1f} s from the database's"
    return Finding("clock", seconds_off < CLOCK_SECONDS, observed, remedy)


def judge_user(name: str, is_ready: bool) -> Finding:
    """Judge a user of the units: it must exist and have the control plane in its group."""
    observed = "exists" if is_ready else "missing, or the control plane is not in its group"
    return Finding(f"user {name}", is_ready, observed, f"{INSTALL_COMMAND}, then {START_COMMAND}")


def judge_installed_files(different: Sequence[str]) -> Finding:
    """Judge the installed files by those that differ from this checkout's."""
    observed = f"differ: {', '.join(different)}" if different else "as in this checkout"
    remedy = f"{INSTALL_COMMAND}, then {START_COMMAND}"
    return Finding("installed files", not different, observed, remedy)


def judge_stale_units(stale: str) -> Finding:
    """Judge whether the units run with the present settings; `stale` names those that do not."""
    return Finding("settings in effect", not stale, stale or "all units have them", APPLY_COMMAND)


def judge_names(file: str, unknown: Mapping[str, str]) -> Finding:
    """Judge the names in an env file: each unknown one with the setting that is like it, or "".

    A name that is like none is a person's own: a program that is started here may read it.
    """
    meant = [f"{name}: did you mean {near}?" for name, near in unknown.items() if near]
    others = ", ".join(name for name, near in unknown.items() if not near)
    observed = "; ".join(meant) or (f"not of Oroboros: {others}" if others else "all are settings")
    remedy = f"Correct the name in {file} (.env.example lists all settings); {RESTART_COMMANDS}"
    return Finding(f"names in {file}", not meant, observed, remedy)


def judge_caddy(path: str, is_executable: bool) -> Finding:
    """Judge the web server's program: a surface that runs without it cannot be started again."""
    return Finding("Caddy", is_executable, path if is_executable else f"{path} is missing", REPAIR)


def judge_log_folder(missing: Sequence[str]) -> Finding:
    """Judge the runbook's log paths by those that are missing."""
    observed = f"missing: {', '.join(missing)}" if missing else "all are there"
    return Finding("the runbook's log paths", not missing, observed, REPAIR)


def judge_push_access(problem: str) -> Finding:
    """Judge whether the control plane can write to a local remote; `problem` is "" if it can."""
    remedy = f"chown -R oroboros: <repository>; {RESTART_COMMANDS}"
    return Finding("push to the remote", not problem, problem or "can be written to", remedy)


def judge_file(
    setting: str, path: str, mode: int | None, owner: str, wanted_owner: str, *, is_secret: bool
) -> Finding:
    """Judge a file that a setting names; `mode` is None if it does not exist.

    ssh refuses a key that others can read; known hosts are no secret.
    """
    if mode is None:
        remedy = f"Create the file, or correct {setting} in the env files; {RESTART_COMMANDS}"
        return Finding(setting, False, f"{path} is not found", remedy)
    private = not mode & 0o077 and owner == wanted_owner
    is_right = private if is_secret else owner == wanted_owner or bool(mode & stat.S_IROTH)
    bits = "600" if is_secret else "644"
    remedy = f"chown {wanted_owner}: {path}; chmod {bits} {path}"
    return Finding(setting, is_right, f"{path}: {stat.S_IMODE(mode):o}, of {owner}", remedy)


def judge_hidden_file(setting: str, path: str, folder: str) -> Finding:
    """Report a file that a setting names in a folder of the host that the units do not see."""
    remedy = f"Move it, to /etc/oroboros for instance, and correct {setting}; {RESTART_COMMANDS}"
    return Finding(setting, False, f"{path} is below {folder}, which the units do not see", remedy)


def judge_credentials(path: str, host: str, hosts: Sequence[str]) -> Finding:
    """Judge whether the credentials' file has a line for the remote's host."""
    remedy = f"Write the line https://<user>:<token>@{host} to {path}"
    observed = f"{'a' if host in hosts else 'no'} line for {host} in {path}"
    return Finding("git credentials", host in hosts, observed, remedy)


def judge_timer(name: str, active: str) -> Finding:
    """Judge a timer by the output of `is-active`: a stopped one starts nothing."""
    return Finding(name, active == "active", active or "unknown", f"systemctl start {name}")


def judge_unit(name: str, enabled: str, is_failed: bool) -> Finding:
    """Judge an installed unit by the output of `is-enabled`, and whether it failed."""
    if enabled != "enabled":  # is-enabled also prints disabled, masked, or nothing
        return Finding(name, False, enabled or "unknown", f"systemctl enable {name}")
    observed = "failed" if is_failed else "enabled"
    return Finding(name, not is_failed, observed, f"journalctl -n 50 -u {name}")


def judge_right(unit: str, is_allowed: bool, is_wanted: bool) -> Finding:
    """Judge whether the control plane may start and stop the unit, against whether it should."""
    permission = "may be" if is_allowed else "may not be"
    observed = f"{permission} started and stopped by the control plane"
    remedy = f"{INSTALL_COMMAND}; polkit must run: apt-get install polkitd"
    return Finding(f"right {unit}", is_allowed is is_wanted, observed, remedy)


def judge_secret(
    path: str, mode: int | None, owner: str, wanted_owner: str, repair: str
) -> Finding:
    """Judge the mode and the owner of a file of secrets; `mode` is None if it is missing."""
    if mode is None:
        remedy = "Run the installation again; it keeps all other files."
        return Finding(path, False, "missing", remedy)
    is_private = stat.S_IMODE(mode) == 0o600 and owner == wanted_owner
    return Finding(path, is_private, f"{stat.S_IMODE(mode):o}, of {owner}", repair)


def report_env_values(folder: str, surprises: Sequence[str]) -> Finding:
    """Report values whose meaning their author may not expect: a warning, not a fault."""
    return Finding(f"values in {folder}", True, "\n      ".join(surprises) or "as written")


def report_shell_settings(names: Sequence[str]) -> Finding:
    """Report the shell's settings that differ from the env files': a fact, not a fault."""
    differing = f"{', '.join(names)}: the shell's value counts here, the env files have another"
    return Finding("settings of the shell", True, differing if names else "none differs")


def judge_checkout(path: str, mode: int, owner: str, wanted_owner: str) -> Finding:
    """Judge the checkout's folder: a user who can write to it can change the control plane."""
    # 0o022: the group or others may write.
    is_closed = not mode & 0o022 and owner == wanted_owner
    remedy = f"chown {wanted_owner}: {path}; chmod go-w {path}"
    return Finding(path, is_closed, f"{stat.S_IMODE(mode):o}, of {owner}", remedy)


def judge_isolation(has_users: bool) -> Finding:
    """Report which users previews run as without systemd: a fact about the host, not a fault."""
    without = "none: previews run as you, so preview only code you trust"
    observed = "previews run as users of their own" if has_users else without
    return Finding("isolation", True, observed)


def judge_private_folders(is_root: bool, works: bool) -> Finding:
    """Judge whether each program of an application has a /tmp of its own, which needs root."""
    if not is_root:
        observed = "shared with you: only root can give programs a /tmp of their own"
        return Finding("private folders", True, observed)
    remedy = "The kernel refuses mounts: give this container CAP_SYS_ADMIN, or use systemd."
    observed = "private" if works else "shared with the host"
    return Finding("private folders", works, observed, remedy)


def judge_server(subject: str, version: int) -> Finding:
    """Judge the version of PostgreSQL, as `server_version_num` has it."""
    observed = f"PostgreSQL {version // 10000}"
    remedy = "PostgreSQL 15 or newer is needed."
    return Finding(subject, version >= OLDEST_POSTGRES, observed, remedy)


def report_unreachable(subject: str, error: str) -> Finding:
    """Report that a database does not answer, with the first line of the error."""
    remedy = (
        f"{START_COMMAND}; check that PostgreSQL runs and that its URL in the env files is right"
    )
    return Finding(subject, False, (error.splitlines() or ["no answer"])[0], remedy)


def judge_admin_role(name: str, can_create: bool, is_superuser: bool) -> Finding:
    """Judge the role that creates the slots' databases and roles: enough rights, and no more."""
    rights = "creates databases and roles" if can_create else "lacks CREATEDB or CREATEROLE"
    remedy = f"ALTER ROLE {name} CREATEDB CREATEROLE NOSUPERUSER"
    observed = "is superuser" if is_superuser else rights
    return Finding("admin's role", can_create and not is_superuser, observed, remedy)


def judge_open_databases(names: Sequence[str]) -> Finding:
    """Judge the databases to which every role may connect, previews' roles too: none should."""
    listed = ", ".join(sorted(names))
    remedy = f"REVOKE CONNECT ON DATABASE {listed} FROM PUBLIC"
    observed = f"open to all: {listed}" if names else "all"
    return Finding("closed databases", not names, observed, remedy)


def judge_migrations(missing: Sequence[str]) -> Finding:
    """Judge the control plane's tables by the migrations that the database does not have."""
    observed = f"not applied: {', '.join(missing)}" if missing else "all are applied"
    return Finding("migrations", not missing, observed, REPAIR)


def judge_forge_settings(problem: str, observed: str = "") -> Finding:
    """Judge the settings of the forge; `problem` is "" if all are right."""
    remedy = f"Correct it in api.env (docs/forges.md has the steps); {RESTART_COMMANDS}"
    return Finding("forge", not problem, problem or observed, remedy)


def judge_forge_token(observed: str, *, is_ok: bool) -> Finding:
    """Judge the token of the forge's API by what it can read."""
    remedy = (
        "Check FORGE_URL and FORGE_REPOSITORY, or write a new token with the rights that the page "
        "of the forge in docs/ names to the file of FORGE_TOKEN_FILE."
    )
    return Finding("forge's token", is_ok, observed, remedy)


def _explain_webhook(forge: str, is_https: bool) -> str:
    scheme = "https" if is_https else "http"
    return (
        f"Add the webhook {scheme}://api.<domain>/hooks/{forge} to the repository as "
        f"docs/forge-{forge}.md says; the forge shows how its deliveries were answered."
    )


def judge_hook(forge: str, is_https: bool, observed: str, problem: str) -> Finding:
    """Judge the webhook that the forge has; `problem` is "" if there is none that is known."""
    text = f"{observed}: {problem}" if observed and problem else problem or observed
    return Finding("webhook on the forge", not problem, text, _explain_webhook(forge, is_https))


def judge_webhook(forge: str, is_https: bool, last_delivery: str) -> Finding:
    """Judge whether the forge's webhooks arrive; `last_delivery` is "" if none has come."""
    remedy = _explain_webhook(forge, is_https)
    observed = last_delivery or "no delivery has come yet"
    return Finding("webhook", bool(last_delivery), observed, remedy)


def judge_git_remote(url: str, branch: str, has_branch: bool, error: str) -> Finding:
    """Judge whether the git remote has the branch; `error` is git's message, if it failed."""
    if not url:
        remedy = (
            f"Set GIT_REMOTE_URL and, for a path, GIT_LOCAL_ROOTS in worker.env; {RESTART_COMMANDS}"
        )
        return Finding("git remote", False, "not configured", remedy)
    observed = f"has {branch}" if has_branch else error or f"has no branch {branch}"
    remedy = (
        "Check GIT_REMOTE_URL in worker.env, and that this host may read it; " + RESTART_COMMANDS
    )
    return Finding("git remote", has_branch, observed, remedy)


def judge_shipping_settings(problem: str) -> Finding:
    """Judge the settings of push, hooks and health gate; `problem` is "" if all are right."""
    remedy = f"Correct the setting in worker.env (see .env.example); {RESTART_COMMANDS}"
    return Finding("shipping's settings", not problem, problem or "can be read", remedy)


def judge_service(name: str, is_ok: bool, reason: str, stopped_slot: str | None) -> Finding:
    """Judge a row of the startup matrix; `stopped_slot` is its slot if a person stopped it."""
    if stopped_slot is not None:
        remedy = f"./scripts/preview-backend-runtime.sh start --slot {stopped_slot}"
        return Finding(name, False, "stopped by hand", remedy)
    remedy = (
        f"{START_COMMAND}; if that does not help ./scripts/runtime-down.sh, then {START_COMMAND}"
    )
    return Finding(name, is_ok, (reason.splitlines() or [""])[0], remedy)


def judge_port(purpose: str, number: int, listening: str, listener: str) -> Finding:
    """Judge who listens on a port: only the unit itself may, or no process.

    `listening` is `ours`, `none` or `foreign`, as the unit managers have it.
    """
    observed = {"ours": "ours", "none": "closed"}.get(listening, f"held by {listener}")
    remedy = f"Stop {listener or 'the process on it'}; then {START_COMMAND}"
    return Finding(f"port {number} {purpose}", listening != "foreign", observed, remedy)


def judge_exposure(unit: str, addresses: Sequence[str]) -> Finding:
    """Judge on which `addresses` of all interfaces an application listens: none is right."""
    observed = f"listens on all interfaces: {', '.join(addresses)}"
    remedy = (
        "Have the application listen on 127.0.0.1 (gunicorn --bind 127.0.0.1:$PORT, or the variable"
        " HOST), or close its port to other hosts with a firewall."
    )
    subject = f"addresses of {unit.partition('@')[2]}"
    return Finding(subject, not addresses, observed if addresses else "loopback only", remedy)


def judge_routes(answers: Mapping[str, str], wanted: Mapping[str, int]) -> list[Finding]:
    """Judge the router's answer to each host name, as a status or an error."""
    remedy = (
        f"{START_COMMAND}; the domain is OROBOROS_DOMAIN in api.env, "
        f"after a change of it {APPLY_COMMAND}"
    )
    return [
        Finding(f"route {host}", answers[host] == str(status), answers[host], remedy)
        for host, status in wanted.items()
    ]
