"""The configuration, read from the environment and the env files without Django.

The process environment wins, then the files of `OROBOROS_ENV_DIR`, else `/etc/oroboros` if its
`OROBOROS_HOME` names this checkout, else `var/env`. `settings.py` reads the same environment after
`load_env_files`. `.env.example` lists every name with its default and meaning.
"""

import os
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from host import env_file_access
from host.env_file import ENV_FILE_BYTES, parse_env, refuse_large_file
from host.errors import Refused
from host.process import private_tmp
from host.process.private_tmp import PrivateFolders
from host.process.users import Limits, User
from host.settings_rules import (
    check_values,
    name_files,
    read_boolean,
    read_choice,
    read_integer,
    read_origins,
)
from host.units import jobs
from host.units.slot_config import (
    HTTP_PORT,
    HTTPS_PORT,
    Addresses,
    list_instance_ports,
    list_slots,
)
from host.units.slot_config import SlotConfig as SlotConfig

HOME = Path(__file__).resolve().parents[1]
# The env files of the control plane itself. The other files of the folder (worker-preview.env,
# app.env, web-*.env) are for the processes it starts.
SERVICE = "oroboros"  # the control plane's user where systemd runs it
CONTROL_FILES = ("api.env", "worker.env")
# Of applications; an error in one is refused at the start, before a run meets it.
APPLICATION_FILES = ("worker-preview.env", "app.env", "build.env")
SLOT_ID = re.compile(r"preview-?([1-9][0-9]?)")
# Of the hundred uids of a checkout, those of roles are from 50 to 79, those of slots the others.
FIRST_ROLE, SLOTS_ABOVE_ROLES = 50, 30
# Of the Chromium that takes pictures: of each of its processes, all of whose threads are counted.
BROWSER_LIMITS = Limits(processes=512, data_bytes=2 * 2**30, file_bytes=2**28, oom_score=900)
SYSTEM_ENV_DIR = Path("/etc/oroboros")
BOOTED_BY_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
INSTALLED_UNIT = Path("/etc/systemd/system/ouroboros-app@.service")


@dataclass(frozen=True)
class Config(Addresses):
    """The configuration of this checkout. Paths are absolute, times are in seconds.

    `slots` are the first `slot_count`, and those above it that still have files of a run: they are
    not granted any more, and are left out at the next start after they were cleaned.
    """

    home: Path
    var: Path
    env_dir: Path
    domain: str
    slots: tuple[SlotConfig, ...]
    slot_count: int
    api_port: int
    worker_port: int
    web_port: int
    router_port: int
    http_port: int
    https_port: int
    colour_ports: tuple[int, int]
    gate_port: int
    # Of the servers beside `web` of production's instances: blue, green and gate.
    server_ports: Mapping[str, tuple[int, ...]]
    discard_port: int  # the mail sink of commands that run for no slot
    redis_ports: tuple[int, int]  # production's, and that of commands that run for no slot
    postgres_port: int
    database_url: str
    preview_admin_database_url: str
    preview_database_url_template: str
    production_database: str
    uid_base: int
    is_root: bool
    is_systemd: bool
    git_remote_url: str
    git_local_roots: tuple[Path, ...]
    target_branch: str
    environ: Mapping[str, str]

    def slot(self, slot_id: str) -> SlotConfig:
        """Return the configured slot of that id; `previewN` is accepted for `preview-N`.

        Raises Refused `slot_id_invalid` (400) for text that is not a slot id, and `slot_unknown`
        (404) for a slot that is not configured here.
        """
        match = SLOT_ID.fullmatch(slot_id)
        known = ", ".join(slot.slot_id for slot in self.slots)
        if match is None:
            raise Refused(
                "slot_id_invalid", f"Not a slot id; the slots here are {known}.", status=400
            )
        for slot in self.slots:
            if slot.number == int(match[1]):
                return slot
        raise Refused("slot_unknown", f"No such slot; the slots here are {known}.", status=404)

    @property
    def host_name(self) -> str:
        """The name of this host among those that share the database: OROBOROS_HOST."""
        return self.get("OROBOROS_HOST", "local")

    @property
    def app_origins(self) -> list[str]:
        """The additional origins whose pages may read our answers: CORS_APP_ORIGINS.

        Raises Refused `setting_invalid` for a value that is not an origin.
        """
        return read_origins(self.environ, "CORS_APP_ORIGINS")

    @property
    def app_host(self) -> str:
        """The Host header of production's visitors: with the port, if their address has one."""
        if self.is_https:
            return f"app.{self.domain}{self.https_suffix}"
        return f"127.0.0.1:{self.web_port}"

    def _user(self, role: str, offset: int) -> User | None:
        if self.is_systemd:
            return jobs.find_user(role)
        if not self.is_root:
            return None
        folders = self.private_folders if private_tmp.is_supported() else None
        limits = Limits(processes=self.get_integer("PREVIEW_PROCESSES", Limits.processes))
        uid = self.uid_base + offset
        return User(uid, uid, folders=folders, limits=limits)

    @property
    def private_folders(self) -> PrivateFolders:
        """What the programs of applications see of /tmp and of this checkout."""
        # They run uv and the idle page, and their trees are in `var`.
        own = (self.home / name for name in (".venv", "host", "slots"))
        return PrivateFolders(self.home, (*own, self.var))

    def slot_user(self, slot: SlotConfig) -> User | None:
        """Return the user of the slot's backend and builds; None if we cannot change the user."""
        # From 50 on the numbers are those of other roles.
        number = slot.number if slot.number < FIRST_ROLE else slot.number + SLOTS_ABOVE_ROLES
        return self._user(slot.slot_id, number)

    @property
    def job_user(self) -> User | None:
        """The user of checks and release builds."""
        return self._user("job", 50)

    @property
    def precheck_user(self) -> User | None:
        """The user of checks and builds of a commit without an approval.

        Not the jobs' own, as which is built what ships. Under systemd it is that one: no process
        of a job outlives its unit there.
        """
        user, job = self._user("precheck", 52), self.job_user
        # Of the jobs' group, which alone may enter their folders.
        return job if self.is_systemd or user is None or job is None else replace(user, gid=job.gid)

    @property
    def screenshot_user(self) -> User | None:
        """The user of the Chromium that takes pictures of previews; None if there is none.

        No other program runs as this user. Under systemd it does not exist: the jobs' user also
        builds what ships, and a job's unit refuses the sandbox of Chromium.
        """
        user = None if self.is_systemd else self._user("screenshot", 53)
        return user and replace(user, limits=BROWSER_LIMITS)

    @property
    def install_user(self) -> User | None:
        """The user who installs shared dependencies: no command of a branch runs as this user."""
        return self._user("install", 51)

    @property
    def app_user(self) -> User | None:
        """The user of the production app, which has no limits, as it has none under systemd."""
        user = self._user("app", 60)
        return user if self.is_systemd or user is None else replace(user, limits=None)

    @property
    def application_users(self) -> list[User]:
        """The users of slots, jobs and production; none if we cannot change the user."""
        jobs = (self.job_user, self.precheck_user, self.screenshot_user, self.install_user)
        others = (*jobs, self.app_user, self.redis_user("job"))
        return [one for one in (*map(self.slot_user, self.slots), *others) if one is not None]

    @cached_property
    def application_uids(self) -> frozenset[int]:
        """The uids of the users above, read once: each request to the API is compared with them."""
        return frozenset(user.uid for user in self.application_users)

    def redis_user(self, role: str) -> User | None:
        """Return the user of a Redis server: the role's own, without systemd one for previews."""
        return self.app_user if role == "app" else self._user(role, 71)

    @property
    def postgres_user(self) -> User | None:
        """The user of the embedded PostgreSQL, which refuses to run as root."""
        user = None if self.is_systemd else self._user("postgres", 70)
        # Its clients reach it by a socket that may lie in /tmp.
        return user and User(user.uid, user.gid)

    def get(self, name: str, default: str = "") -> str:
        """Return a setting that has no field; an empty value counts as not set."""
        return self.environ.get(name, "") or default

    def get_integer(self, name: str, default: int) -> int:
        """Return a whole number of `settings_rules`. Raises Refused `setting_invalid`."""
        return read_integer(self.environ, name, default)

    def get_boolean(self, name: str, default: bool = False) -> bool:
        """Return whether a setting of `settings_rules` is true. Raises Refused as above."""
        return read_boolean(self.environ, name, default)

    def get_names(self, name: str) -> tuple[str, ...]:
        """Return names separated by commas: "build / test (3.11), lint" are two."""
        return tuple(one.strip() for one in self.get(name).split(",") if one.strip())

    def get_choice(self, name: str) -> str:
        """Return one of the values of `settings_rules.CHOICES`. Raises Refused as above."""
        return read_choice(self.environ, name)

    def get_seconds(self, name: str, default: float, *, allows_none: bool = True) -> float:
        """Return a duration in seconds: a number ≥ 0, or > 0 without `allows_none`.

        Raises Refused `setting_invalid`.
        """
        raw = self.get(name)
        if not raw:
            return default
        try:
            value = float(raw)
        except ValueError:
            value = -1.0
        # This comparison also refuses NaN.
        if not 0 <= value < 10**9 or (value == 0 and not allows_none):
            what = "number of seconds" if allows_none else "number of seconds above 0"
            raise Refused("setting_invalid", f"{name} must be a {what}, not {raw!r}.")
        return value


def read_env_file(path: Path) -> dict[str, str]:
    """Parse the file; one that does not exist is empty. Raises Refused as `parse_env`."""
    try:
        with path.open("rb") as file:
            raw = file.read(ENV_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except IsADirectoryError:
        raise Refused("env_file_invalid", f"{path} is a folder, and no file.", status=400) from None
    if len(raw) > ENV_FILE_BYTES:
        raise refuse_large_file(str(path))
    try:
        return parse_env(raw.decode(), str(path))
    except UnicodeDecodeError:
        raise Refused("env_file_invalid", f"{path} is not UTF-8.", status=400) from None


def find_env_dir(environ: Mapping[str, str], home: Path = HOME) -> Path:
    """Return the folder whose env files configure this checkout."""
    if environ.get("OROBOROS_ENV_DIR"):
        return Path(environ["OROBOROS_ENV_DIR"]).absolute()
    try:
        named = read_env_file(SYSTEM_ENV_DIR / "api.env").get("OROBOROS_HOME")
    except PermissionError:  # an installation of another user
        env_file_access.refuse_unreadable(SYSTEM_ENV_DIR / "api.env", _find_owners(SYSTEM_ENV_DIR))
        named = None
    if named and Path(named).resolve() == home:
        return SYSTEM_ENV_DIR
    return Path(environ.get("OROBOROS_VAR") or home / "var").absolute() / "env"


def is_installed(folder: Path) -> bool:
    """Return whether systemd manages the units of the checkout with that folder of env files."""
    return folder == SYSTEM_ENV_DIR and INSTALLED_UNIT.exists() and BOOTED_BY_SYSTEMD.is_dir()


def load_env_files(environ: MutableMapping[str, str] = os.environ, home: Path = HOME) -> Path:
    """Add the env files' values to `environ`, whose own values win. Returns their folder.

    Raises Refused as `parse_env`, `env_file_exposed` for a file that others can read, own or
    replace, and `env_file_unreadable` for one that this process must read and cannot: without it
    other settings would hold, such as another push mode.
    """
    folder = find_env_dir(environ, home)
    env_file_access.refuse_writable_folder(folder)
    is_other_user = False
    for name in (*CONTROL_FILES, *APPLICATION_FILES):
        path = folder / name
        try:
            values = read_env_file(path)
        except PermissionError:
            # A user of the host who may not read this service's secrets can read none of the files.
            is_other_user = is_other_user or name == CONTROL_FILES[0]
            env_file_access.refuse_unreadable(path, _find_owners(folder), always=not is_other_user)
            continue
        env_file_access.refuse_exposed(path, lambda: _find_owners(folder))
        for key, value in values.items() if name in CONTROL_FILES else ():
            environ.setdefault(key, value)
    return folder


def _find_owners(folder: Path) -> set[int]:
    """Return the users who may own the folder's files: its owner, and root's folder's service."""
    # The folder's owner could replace the files. Root's folder has files of the service's user.
    owner = folder.stat().st_uid
    return {owner, *(env_file_access.find_uids(SERVICE) if folder == SYSTEM_ENV_DIR else ())}


def load(environ: Mapping[str, str] | None = None, home: Path = HOME) -> Config:
    """Read the environment (default: the process's, after the env files) into a Config.

    Raises Refused `setting_invalid` with a sentence for each wrong value, and as `parse_env`.
    """
    if environ is None:
        values: dict[str, str] = dict(os.environ)
        load_env_files(values, home)
    else:
        values = dict(environ)
    folder = find_env_dir(values, home)
    try:
        check_values(values)
    except Refused as refused:
        raise name_files(refused, values, _read_stored(folder)) from None
    var = Path(values.get("OROBOROS_VAR") or home / "var").absolute()
    offset = read_integer(values, "OROBOROS_PORT_OFFSET", 0)
    count = read_integer(values, "OROBOROS_SLOTS", 3)
    postgres_port = _wrap_port(54329 + offset)
    return Config(
        home=home,
        var=var,
        env_dir=folder,
        domain=values.get("OROBOROS_DOMAIN") or "example.com",
        slots=list_slots(count, var, offset),
        slot_count=count,
        api_port=8000 + offset,
        worker_port=8090 + offset,
        web_port=3100 + offset,
        router_port=8088 + offset,
        http_port=HTTP_PORT + offset,
        https_port=HTTPS_PORT + offset,
        # Below the ports of the slots, of which there may be 64.
        colour_ports=(8094 + offset, 8095 + offset),
        gate_port=8092 + offset,
        server_ports=list_instance_ports(offset),
        discard_port=8300 + offset,
        redis_ports=(8400 + offset, 8465 + offset),
        postgres_port=postgres_port,
        database_url=values.get("DATABASE_URL", ""),
        preview_admin_database_url=values.get("PREVIEW_ADMIN_DATABASE_URL", ""),
        preview_database_url_template=values.get("PREVIEW_BACKEND_DATABASE_URL_TEMPLATE")
        or f"postgresql://127.0.0.1:{postgres_port}/{{db_name}}",
        production_database=values.get("OROBOROS_PRODUCTION_DATABASE") or "app_production",
        uid_base=read_integer(values, "OROBOROS_UID_BASE", _first_uid(offset)),
        is_root=os.geteuid() == 0,
        is_systemd=is_installed(folder),
        git_remote_url=values.get("GIT_REMOTE_URL", ""),
        git_local_roots=tuple(
            Path(root) for root in values.get("GIT_LOCAL_ROOTS", "").split(":") if root
        ),
        target_branch=values.get("MERGE_GATE_GIT_PUSH_BRANCH") or "main",
        environ=values,
    )


def _read_stored(folder: Path) -> dict[str, dict[str, str]]:
    """Return the content of the control plane's env files by path; {} for one that is refused."""
    stored: dict[str, dict[str, str]] = {}
    for path in (folder / name for name in CONTROL_FILES):
        with suppress(OSError, Refused):
            stored[str(path)] = read_env_file(path)
    return stored


def _first_uid(offset: int) -> int:
    """Return the first of our uids: each checkout has its own, and kills all their processes."""
    return 60800 if offset == 0 else 200000 + 100 * offset


def _wrap_port(port: int) -> int:
    """Return the port; one that an offset pushed above 65535 continues at 1024."""
    return port if port < 65536 else port - 65536 + 1024
